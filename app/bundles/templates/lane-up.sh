#!/bin/sh
# Configures the lane $1, whose device wireguard-go has just been started for. ADDRESS and MTU come from its .env file.
set -eu
lane=$1

# The device answers on its UAPI socket a moment after the program has started: wait up to 5 s for it.
tries=0
until wg show "$lane" >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -ge 50 ]; then
        echo "lane-up: $lane does not answer to wg(8)" >&2
        exit 1
    fi
    sleep 0.1
done

# setconf takes every key away, so the lane's own key comes after it.
wg setconf "$lane" "/etc/wiretune/lanes/$lane.conf"
wg set "$lane" private-key "/etc/wiretune/keys/$lane"
ip address replace "$ADDRESS" dev "$lane"
ip link set dev "$lane" mtu "$MTU" up
exec sh /etc/wiretune/lane-routes.sh
