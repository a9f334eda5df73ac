# shellcheck shell=bash
# lib_http.sh - relays that serve HTTP, and what they answer. Sourced after lib_relay.sh.

# serve NAME ARGUMENT...: a relay on a free port; its address is in ${url[NAME]}
declare -A url=()
serve() {
    local name=$1
    shift
    relay_start "$name" -X http.listen=127.0.0.1:0 "$@"
    wait_until 20 said "$name" 'msg=listening' || die "$name does not listen: $(tail -n 3 "$dir/$name.log")"
    url[$name]=http://$(sed -n 's/.*msg=listening .*address=//p' "$dir/$name.log" | tail -n 1)
}

# ask NAME PATH [CURL-ARGUMENT...]: the body; status code in $code, head in $dir/head
ask() {
    local name=$1 path=$2
    shift 2
    code=$(curl -s -m "$ample" -o "$dir/body" -D "$dir/head" -w '%{http_code}' "$@" "${url[$name]}$path") || true
    body=$(<"$dir/body")
}
header() { tr -d '\r' <"$dir/head" | sed -n "s/^$1: //Ip"; }

# answers NAME PATH CODE
answers() { ask "$1" "$2" && [[ $code == "$3" ]]; }
# shows NAME PATH PATTERN: a line of the body
shows() { ask "$1" "$2" && grep -q -e "$3" "$dir/body"; }
# wait_shows NAME PATH PATTERN [SECONDS]
wait_shows() {
    local ended=0 # `code` is what `ask` sets
    wait_until "${4:-30}" shows "$1" "$2" "$3" || ended=$?
    ((ended == 0)) || printf '%s\n' "$body"
    return "$ended"
}
# verdict NAME: the first sentence
verdict() { ask "$1" '/readyz?verbose' && sed -n '/^\[/!{p;q}' "$dir/body"; }
# metric NAME 'metric{labels}': its value
metric() { ask "$1" /metrics && awk -v m="$2" '$1 == m { print $2 }' "$dir/body"; }
# metric_is NAME METRIC VALUE
metric_is() { [[ $(metric "$1" "$2") == "$3" ]]; }
