# shellcheck shell=bash
# Starting, watching and ending the processes of the native cluster.
# A process is known by its pid, its start time and the boot that it belongs to. So neither a stale file nor a pid
# that the kernel has given to somebody else is ever taken for ours.

identity() { # pid
    local stat
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    # The name in field 2 may hold blanks; behind it, field 3 is the state and field 22 the start time.
    local -a fields
    read -ra fields <<<"${stat##*) }"
    [ "${fields[0]}" != Z ] || return 1
    echo "$1 ${fields[19]} $(</proc/sys/kernel/random/boot_id)"
}

running() { # name
    local known
    { read -r known <"$run/$1"; } 2>/dev/null || return 1
    [ "$(identity "${known%% *}")" = "$known" ]
}

start() { # name, command...
    local name=$1
    shift
    (cd / && exec setsid "$@") >"$logs/$name.log" 2>&1 </dev/null 9>&- &
    identity $! >"$run/$name" || true
}

# All of them are asked at once; who has not ended after three seconds is killed (the API server waits long for its
# watchers, and what it holds is dropped anyway).
stop() { # name...
    local name signal
    for signal in TERM KILL; do
        for name in "$@"; do
            [ -n "$name" ] && running "$name" && kill -s "$signal" "$(cut -d' ' -f1 "$run/$name")"
        done
        for _ in {1..30}; do
            any_running "$@" || break 2
            sleep 0.1
        done
    done
    for name in "$@"; do
        [ -z "$name" ] || rm -f "$run/$name"
    done
}

any_running() { # name...
    local name
    for name in "$@"; do
        [ -n "$name" ] && running "$name" && return
    done
    return 1
}

# Who has ended meanwhile is named first: the one waited for may only be its victim.
await() { # name, seconds, command...
    local name=$1 end=$((SECONDS + $2)) started
    shift 2
    until "$@" >/dev/null 2>&1; do
        for started in "$run"/*; do
            running "${started##*/}" || fail "${started##*/}" "ended"
        done
        [ "$SECONDS" -lt "$end" ] || fail "$name" "not ready in time: $*"
        sleep 0.2
    done
}

fail() { # name, message
    echo "cluster: $1: $2. The end of $logs/$1.log:" >&2
    tail -n 20 "$logs/$1.log" >&2
    exit 1
}
