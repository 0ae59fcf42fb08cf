#!/bin/sh
# Keys of the lanes. Secret halves are made on the host that uses them and never leave it.
#
#   keys.sh generate FOLDER LANE...      makes the missing keys under FOLDER and prints "LANE PUBLIC-KEY STATE" a line,
#                                        where STATE is created or kept
#   keys.sh fill GATEWAY KEYS <IN >OUT   puts the public keys of GATEWAY (a or b), read from KEYS, the saved output
#                                        of `generate` there, in place of their placeholders
set -eu

usage() {
    sed -n 's/^# \{0,1\}//; 2,9p' "$0" >&2
    exit 2
}

generate() {
    [ $# -ge 2 ] || usage
    folder=$1
    shift
    umask 077
    mkdir -p "$folder"
    for lane in "$@"; do
        state=kept
        if [ ! -s "$folder/$lane" ]; then
            # Renamed into place, so that a full disk or a kill never leaves half a key.
            wg genkey >"$folder/.$lane.part"
            mv "$folder/.$lane.part" "$folder/$lane"
            state=created
        fi
        echo "$lane $(wg pubkey <"$folder/$lane") $state"
    done
}

fill() {
    [ $# -eq 2 ] || usage
    case $1 in
    a) gateway=A ;;
    b) gateway=B ;;
    *) usage ;;
    esac
    commands=$(mktemp)
    trap 'rm -f "$commands"' EXIT
    number=0
    while read -r lane key _; do
        if ! echo "$key" | grep -Eqx '[A-Za-z0-9+/]{43}='; then
            echo "keys.sh: $2 has no public key for lane $lane" >&2
            exit 1
        fi
        echo "s|@PUBLIC_KEY_${gateway}_LANE_${number}@|$key|g"
        number=$((number + 1))
    done <"$2" >"$commands"
    sed -f "$commands"
}

[ $# -ge 1 ] || usage
action=$1
shift
case $action in
generate) generate "$@" ;;
fill) fill "$@" ;;
*) usage ;;
esac
