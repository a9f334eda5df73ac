#!/usr/bin/env bash
# contrib.sh - what is shipped for service managers and monitoring is well-formed and names what exists.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/tools/cases.sh
. tests/tools/cases.sh
here=relay/contrib

# --- metrics: those that rules and dashboard use are in the table -------------------------------------

known=$(sed -n 's/^METRIC([a-z_]*, "\([a-z_]*\)".*/\1/p' relay/metrics.def)
used=$(grep -ohE '\b(outbox_relay|process)_[a-z_]+' "$here"/prometheus/*.yml "$here"/grafana/*.json relay/man/*.scd |
    sed -E 's/_bucket$//' | sort -u)
unknown=
for metric in $used; do
    grep -qx "$metric" <<<"$known" || unknown+=" $metric"
done
if [[ -z $unknown ]]; then ok every_metric_that_is_used_exists; else not_ok every_metric_that_is_used_exists "$unknown"; fi
holds dashboard_is_json jq -e '.panels | length > 10' "$here/grafana/outbox-relay.json"
# What every relay of an outbox tells is taken once, and of several outboxes none hides behind another.
nothing dashboard_adds_up_by_outbox "$(jq -r '.panels[].targets[].expr' "$here/grafana/outbox-relay.json" |
    grep -E 'outbox_relay_(leader|pending_rows|held_rows|topic_paused|outbox_bytes)' |
    grep -vE 'max by \(outbox[,)]|and outbox_relay_leader == 1' || true)"
# Else a stat shows the last value that there was, also where there is none any more.
nothing stats_are_of_now "$(jq -r '.panels[] | select(.type == "stat" and (.targets | all(.instant) | not)) | .title' \
    "$here/grafana/outbox-relay.json")"

# --- prometheus ---------------------------------------------------------------------------------------

if bin=$(tests/tools/prometheus 2>&1); then
    holds rules_are_good "$bin/promtool" check rules "$here/prometheus/outbox-relay.rules.yml"
    asked=$(mktemp "${TMPDIR:-/tmp}/outbox-contrib.XXXXXX")
    trap 'rm -f "$asked"' EXIT
    jq '{groups: [{name: "dashboard", rules: [.panels[].targets[].expr
        | gsub("[$]__rate_interval"; "5m") | gsub("[$]outbox"; ".*")] | to_entries
        | map({record: "asked:\(.key)", expr: .value})}]}' "$here/grafana/outbox-relay.json" >"$asked"
    holds dashboard_queries_are_good "$bin/promtool" check rules "$asked"
    holds alerts_fire_when_they_should "$bin/promtool" test rules "$here/prometheus/outbox-relay.rules.test.yml"
else
    skip rules_are_good "$bin"
fi

# --- systemd ------------------------------------------------------------------------------------------

if command -v systemd-analyze >/dev/null; then
    for unit in outbox-relay.service outbox-relay@.service; do
        score=$(systemd-analyze security --offline=true --no-pager "$here/systemd/$unit" 2>/dev/null |
            sed -n 's/.*exposure level for .*: \([0-9.]*\) .*/\1/p')
        holds "unit_is_hardened: $unit (exposure $score of 10)" awk -v s="$score" 'BEGIN { exit !(s != "" && s <= 2.0) }'
        # the program is not installed where this runs
        said=$(systemd-analyze verify --man=no "$here/systemd/$unit" 2>&1 | grep -F "$unit" | grep -v 'is not executable' || true)
        if [[ -z $said ]]; then ok "unit_is_good: $unit"; else not_ok "unit_is_good: $unit" "$said"; fi
    done
else
    skip units_are_good 'systemd-analyze is not there'
fi

# --- kubernetes, docker: secrets and rights ------------------------------------------------------------

for manifest in deployment sidecar; do
    file=$here/kubernetes/$manifest.yaml
    for word in 'readOnlyRootFilesystem: true' 'allowPrivilegeEscalation: false' 'runAsNonRoot: true' \
        'drop: \[ALL\]' 'type: RuntimeDefault' 'defaultMode: 0440' 'path: /livez'; do
        grep -q "$word" "$file" || not_ok "$manifest is restricted" "no $word"
    done
done
# A row is taken whole, several times over: memory for the largest that the table takes.
largest=$(sed -nE 's/.*octet_length\(payload\) OPERATOR\(pg_catalog.>\) ([0-9]+).*/\1/p' sql/001_outbox.up.sql | sort -u)
room() {
    local limit
    limit=$(sed -nE 's/.*limits: \{memory: ([0-9]+)Mi\}.*/\1/p' "$here/kubernetes/$1.yaml")
    [[ $largest =~ ^[0-9]+$ && $limit =~ ^[0-9]+$ ]] && ((limit * 1048576 >= 6 * largest))
}
for manifest in deployment sidecar; do holds "memory_is_enough_for_the_largest_row: $manifest" room "$manifest"; done
holds sidecar_is_native grep -q 'restartPolicy: Always' "$here/kubernetes/sidecar.yaml"
# a sidecar's readiness is the pod's
holds sidecar_does_not_decide_readiness bash -c "! grep -q readinessProbe '$here/kubernetes/sidecar.yaml'"
version=$(sed -n 's/^#define OUTBOX_VERSION_STRING "\(.*\)"$/\1/p' include/outbox.h)
said=$(grep -HnoE 'outbox-relay:[0-9][0-9.]*' "$here"/kubernetes/*.yaml "$here/docker/Dockerfile" | grep -v ":outbox-relay:$version\$" || true)
if [[ -n $version && -z $said ]]; then ok images_are_of_this_version; else not_ok images_are_of_this_version "$said, the header says $version"; fi
holds image_runs_without_rights grep -qE '^USER [1-9][0-9]*:' "$here/docker/Dockerfile"
exit "$bad"
