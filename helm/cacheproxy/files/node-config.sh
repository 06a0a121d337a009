#!/bin/sh
# Writes containerd's hosts.toml on a node, and takes it back.
#
#   node-config.sh install   ROOT WANTED   write what WANTED has, take back what it no longer has
#   node-config.sh uninstall ROOT          take back all that was written
#   node-config.sh check     ROOT WANTED   exit 1 if `install` would change something
#   node-config.sh watch     ROOT WANTED   install, see to it every minute, until SIGTERM
#
# ROOT is where the node's file system is, such as /host, or / on the node itself. WANTED is a
# directory with a file for each registry: docker.io.toml, _default.toml; a port is written with
# underscores, as containerd reads it: registry.example.com_5000_.toml.
#
# Variables:
#   CERTS_DIRECTORY    below ROOT; default /etc/containerd/certs.d
#   REPLACE_FOREIGN    yes: a hosts.toml of somebody else is put aside, and comes back at the end;
#                      no (default): it stays, and is named
#   RESTORE_ON_EXIT    yes: `watch` takes everything back at SIGTERM; no (default): it only ends
#   PERIOD             seconds between two looks of `watch`; default 60
#
# It may be killed at any moment: each step is one rename, link or removal, after which the next
# run knows where it is. What is not ours is never written to, renamed over or removed. Ours is a
# file whose first line says so, and a name that begins with .cacheproxy-node-config.

set -eu
umask 022
export LC_ALL=C

marker='# written by cacheproxy node-config'
file_line="$marker; changes here are lost"
directory_line="$marker, with its directory; changes here are lost"
ours=.cacheproxy-node-config
aside=hosts.toml.before-cacheproxy

say() {
  echo "node-config: $*" >&2
}

# -- what is there -----------------------------------------------------------------------

exists() {
  [ -e "$1" ] || [ -L "$1" ]
}

is_ours() {
  [ -f "$1" ] && [ ! -L "$1" ] || return 1
  first=
  IFS= read -r first < "$1" || :
  case $first in
    "$marker"*) return 0 ;;
    *) return 1 ;;
  esac
}

# Whether the directory of that file was made with it.
is_ours_with_directory() {
  is_ours "$1" && [ "$first" = "$directory_line" ]
}

is_only_file() {
  [ "$(ls -A "$1")" = "$2" ]
}

# The text of one of our files: its first line, and what is wanted.
text() {
  printf '%s\n' "$1"
  cat "$2"
}

# Onto the disk before it is renamed. Where that cannot be asked for a file, the rename must do.
flush() {
  sync "$1" 2> /dev/null || :
}

# -- taking back -------------------------------------------------------------------------

# A directory that we have renamed: remove what is ours, and what is not comes back.
remove_renamed() {
  for left in "$1/hosts.toml" "$1/$ours.made" "$1/$ours.new"; do
    exists "$left" || continue
    case $left in
      */hosts.toml) is_ours "$left" || continue ;;
    esac
    rm -f "$left"
  done
  rmdir "$1" 2> /dev/null && return 0
  if exists "$2"; then
    say "somebody made $2 meanwhile; what was in it is in $1"
  else
    mv "$1" "$2"
  fi
}

# What a run that was killed has left half-way.
tidy() {
  for left in "$certs/$ours".new* "$certs"/*/"$ours".new*; do
    if exists "$left"; then
      rm -rf "$left"
    fi
  done
  for gone in "$certs/$ours".gone.*; do
    if exists "$gone"; then
      remove_renamed "$gone" "$certs/${gone##*"$ours".gone.}"
    fi
  done
}

# Takes back what we did in the directory of one registry.
take_back() {
  directory=$certs/$1
  file=$directory/hosts.toml
  if is_ours_with_directory "$file" && is_only_file "$directory" hosts.toml; then
    mv "$directory" "$certs/$ours.gone.$1"
    remove_renamed "$certs/$ours.gone.$1" "$directory"
  elif is_ours "$file"; then
    if exists "$directory/$aside"; then
      mv -f "$directory/$aside" "$file"
    else
      rm -f "$file"
    fi
  elif exists "$directory/$aside"; then
    if ! exists "$file"; then
      mv "$directory/$aside" "$file"
    elif cmp -s "$directory/$aside" "$file"; then
      rm -f "$directory/$aside"
    else
      say "$file is not ours any more and stays; what was there before us is in $directory/$aside"
      return 0
    fi
  else
    return 0
  fi
  say "$1: taken back"
}

uninstall() {
  settle_certs
  [ -d "$certs" ] || return 0
  tidy
  for entry in "$certs"/*/; do
    entry=${entry%/}
    if [ ! -L "$entry" ] && [ -d "$entry" ]; then
      take_back "${entry##*/}"
    fi
  done
  if [ -e "$certs/$ours.made" ] && is_only_file "$certs" "$ours.made"; then
    mv "$certs" "${certs%/*}/$ours.gone.${certs##*/}"
    settle_certs
  fi
}

# -- writing -----------------------------------------------------------------------------

# What was left half-way where the directory of all registries is made or removed.
settle_certs() {
  left=${certs%/*}/$ours.new.${certs##*/}
  if exists "$left"; then
    rm -rf "$left"
  fi
  gone=${certs%/*}/$ours.gone.${certs##*/}
  if exists "$gone"; then
    remove_renamed "$gone" "$certs"
  fi
}

make_certs() {
  [ -d "${certs%/*}" ] || {
    say "${certs%/*} is not there: is this a node with containerd?"
    exit 1
  }
  settle_certs
  [ -d "$certs" ] && return 0
  new=${certs%/*}/$ours.new.${certs##*/}
  mkdir "$new"
  : > "$new/$ours.made"
  mv "$new" "$certs"
}

# The registry itself must stay the last host: a file whose `server` is one of its own mirrors
# would leave the node without a way to pull once those are down.
leaves_a_way() {
  awk '
    { gsub(/[ \t\r"\047]/, "") }
    /^server=/ { sub(/^server=/, ""); sub(/\/+$/, ""); server = $0 }
    /^\[host\./ { sub(/^\[host\./, ""); sub(/\/*\]$/, ""); mirrors[$0] = 1 }
    END { exit server != "" && server in mirrors }
  ' "$1"
}

# Writes the file of one registry. Sets `refused` where that was not possible.
put() {
  registry=$1 wanted=$2
  directory=$certs/$registry
  file=$directory/hosts.toml
  if ! leaves_a_way "$wanted"; then
    say "$registry: its server is the mirror itself, which leaves no way to pull: not written"
    refused=yes
  elif [ -L "$directory" ]; then
    # Its files may be another registry's too.
    [ -n "$said" ] || say "$directory is somebody else's link and stays: pulls are as it says"
  elif is_ours "$file"; then
    text "$first" "$wanted" | cmp -s - "$file" && return 0
    text "$first" "$wanted" > "$directory/$ours.new"
    over "$directory/$ours.new" "$file"
    say "$registry: changed"
  elif exists "$file"; then
    replace_foreign
  elif exists "$directory/$aside"; then
    say "$registry: our file was taken away, and $directory/$aside is there: nothing is written"
    refused=yes
  elif [ -d "$directory" ]; then
    text "$file_line" "$wanted" > "$directory/$ours.new"
    over "$directory/$ours.new" "$file"
    say "$registry: written"
  elif exists "$directory"; then
    say "$directory is in the way: nothing is written"
    refused=yes
  else
    new=$certs/$ours.new.$registry
    mkdir "$new"
    text "$directory_line" "$wanted" > "$new/hosts.toml"
    flush "$new/hosts.toml"
    mv "$new" "$directory"
    say "$registry: written"
  fi
}

over() {
  flush "$1"
  mv -f "$1" "$2"
}

replace_foreign() {
  if [ "${REPLACE_FOREIGN:-no}" != yes ] || [ -L "$file" ] || [ ! -f "$file" ]; then
    [ -n "$said" ] || say "$file is somebody else's and stays: pulls from $registry are as it says"
    return 0
  fi
  if ! exists "$directory/$aside"; then
    # A second name for the same file: nothing of it can get lost on the way.
    ln "$file" "$directory/$aside" || {
      say "$file cannot be put aside, and stays"
      refused=yes
      return 0
    }
  elif ! cmp -s "$file" "$directory/$aside"; then
    say "$file is somebody else's and stays: $directory/$aside is there already"
    refused=yes
    return 0
  fi
  text "$file_line" "$wanted" > "$directory/$ours.new"
  over "$directory/$ours.new" "$file"
  say "$registry: written; what was there is in $directory/$aside until that is taken back"
}

install() {
  make_certs
  tidy
  refused=
  for source in "$source_directory"/*.toml; do
    [ -f "$source" ] || continue
    name=${source##*/}
    put "${name%.toml}" "$source"
  done
  for entry in "$certs"/*/; do
    entry=${entry%/}
    if [ ! -L "$entry" ] && is_ours "$entry/hosts.toml" && [ ! -f "$source_directory/${entry##*/}.toml" ]; then
      take_back "${entry##*/}"
    fi
  done
  [ -z "$refused" ]
}

check() {
  for source in "$source_directory"/*.toml; do
    [ -f "$source" ] || continue
    name=${source##*/}
    file=$certs/${name%.toml}/hosts.toml
    [ ! -L "${file%/*}" ] || continue
    if is_ours "$file"; then
      text "$first" "$source" | cmp -s - "$file" || {
        say "$file is not as it should be"
        return 1
      }
    elif [ "${REPLACE_FOREIGN:-no}" = yes ] || ! exists "$file"; then
      say "$file is not written"
      return 1
    fi
  done
}

# -- containerd's own configuration ------------------------------------------------------

# containerd reads certs.d only if it is told to. We only look, where we are shown the file.
warn_of_config_path() {
  for config in "$root"/etc/containerd/config.toml \
    "$root"/var/lib/rancher/k3s/agent/etc/containerd/config.toml \
    "$root"/var/lib/rancher/rke2/agent/etc/containerd/config.toml; do
    [ -f "$config" ] || continue
    set_to=$(config_path "$config")
    case ":$set_to:" in
      *":$certs_directory:"*) ;;
      ::)
        say "warning: $config sets no config_path for registries: containerd 1.x reads no" \
          "hosts.toml without; set it to $certs_directory, and restart containerd"
        ;;
      *) say "warning: $config has config_path = $set_to, and not $certs_directory" ;;
    esac
  done
}

# Of the CRI plugin: version 2 names it by its gRPC service, version 3 by its images' service.
config_path() {
  awk '
    { gsub(/[ \t\r"\047]/, ""); sub(/#.*/, "") }
    /^\[/ {
      in_registry = /^\[plugins\.io\.containerd\.(grpc\.v1\.cri|cri\.v1\.images)\.registry\]$/
    }
    in_registry && /^config_path=/ { sub(/^config_path=/, ""); print; exit }
  ' "$1"
}

# -- the commands ------------------------------------------------------------------------

# One at a time, where there is flock: the kernel lets go of it however we end.
locked() (
  lock=$certs
  [ -d "$lock" ] || lock=${certs%/*}
  if command -v flock > /dev/null && [ -d "$lock" ]; then
    exec 9< "$lock"
    flock 9
  fi
  "$@"
)

# In the background, so that a signal is heard at once; but what was begun is ended.
in_background() {
  (set -e && "$@") &
  child=$!
  while :; do
    wait "$child"
    status=$?
    kill -0 "$child" 2> /dev/null || return "$status"
  done
}

# Whatever fails, it goes on: the next look may find it mended.
watch() {
  set +e
  stopped=
  trap 'stopped=yes' TERM INT
  while [ -z "$stopped" ]; do
    in_background locked install
    said=yes
    [ "$status" -eq 0 ] || say "not all is as it should be; the next try is in ${PERIOD:-60} s"
    [ -z "$stopped" ] || break
    sleep "${PERIOD:-60}" &
    sleeping=$!
    wait "$sleeping"
    kill "$sleeping" 2> /dev/null
  done
  status=0
  if [ "${RESTORE_ON_EXIT:-no}" = yes ]; then
    in_background locked uninstall
  fi
  exit "$status"
}

usage() {
  say "usage: node-config.sh install|check|watch ROOT WANTED, or uninstall ROOT"
  exit 2
}

case "${1:-} $#" in
  'install 3' | 'check 3' | 'watch 3') source_directory=${3%/} ;;
  'uninstall 2') source_directory= ;;
  *) usage ;;
esac
command=$1
root=${2%/}
said=
certs_directory=${CERTS_DIRECTORY:-/etc/containerd/certs.d}
certs_directory=${certs_directory%/}
certs=$root$certs_directory
if [ -n "$source_directory" ] && [ ! -d "$source_directory" ]; then
  say "$source_directory is not a directory"
  exit 2
fi

case $command in
  install)
    warn_of_config_path
    locked install
    ;;
  watch)
    warn_of_config_path
    watch
    ;;
  uninstall) locked uninstall ;;
  check) check ;;
esac
