#!/usr/bin/env bash
# The chart: lint, every option rendered, all of it taken by a real API server, and the operator's rights asked for one by
# one. Needs a cluster (KUBECONFIG) and helm and kubectl on the PATH.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
chart=$root/charts/backfill-operator
: "${KUBECONFIG:?set KUBECONFIG: tests/cluster/cluster up prints it}"
work=$(mktemp -d)
namespace=chart-test-$$
trap end EXIT

end() {
    helm uninstall chart-test --namespace "$namespace" >/dev/null 2>&1 || true
    kubectl delete namespace "$namespace" --wait=false >/dev/null 2>&1 || true
    rm -rf "$work"
}

fail() {
    echo "chart.sh: $*" >&2
    exit 1
}

main() {
    diff "$root/crds/backfill.dev_backfillruns.yaml" "$chart/files/crds.yaml" || fail "the chart's definition is old: make generate"
    helm lint --quiet --strict "$chart"
    kubectl create namespace "$namespace" >/dev/null
    # The server then warns about a pod that is not restricted.
    kubectl label namespace "$namespace" pod-security.kubernetes.io/warn=restricted >/dev/null

    taken_by_the_server default
    write_all_options
    taken_by_the_server all --values "$work/all-values.yaml"
    says all "kind: PodMonitor" "kind: ServiceMonitor" "kind: PodDisruptionBudget" "kind: NetworkPolicy" \
        "secretName: audit-webhook" "urlFile: /etc/backfill-operator/channels/audit/url" "helm.sh/resource-policy: keep" \
        "minimum: 2" "rowsAbove: 100000" "variables.user in [\"system:serviceaccount:ci:gate\"]" "image: registry.example.org/operator:1@sha256:"
    policies_where_they_are_wanted
    says_not default "kind: PodMonitor" "kind: PodDisruptionBudget" "kind: NetworkPolicy" "secretName:"

    refuses "set exactly one" 'channels=[{"name":"a"}]' 'channels' oneOf
    refuses "a requester who may approve where rows are few" 'approval.policies=[{"name":"a","when":{"rowsAbove":1},"requesterMayApprove":true}]' 'requesterMayApprove'
    refuses "a person as service account" 'approval.serviceAccounts=["maria"]' 'serviceAccounts'
    refuses "unknown values" 'replica=2' 'replica'
    refuses "a channel's address in the values" 'channels=[{"name":"a","slack":{"url":"https://x"}}]' 'url'

    rights_of_the_operator
    rights_in_watched_namespaces_only
    echo "chart.sh: all good"
}

write_all_options() {
    cat >"$work/all-values.yaml" <<END
replicas: 2
image: {repository: registry.example.org/operator, tag: "1", digest: "sha256:$(printf '0%.0s' {1..64})"}
imagePullSecrets: [{name: pull}]
watchNamespaces: [$namespace]
approval:
  minimum: 2
  requireAdmission: false
  serviceAccounts: ["system:serviceaccount:ci:gate"]
  policies:
    - {name: production, namespaces: [shop], minimum: 3}
    - {name: many-rows, when: {rowsAbove: 100000}, minimum: 2}
    - {name: sandbox, namespaces: [sandbox], requesterMayApprove: true}
    - {name: not-here, namespaces: [shop], requesterMayApprove: false}
channels:
  - {name: team-db, slack: {secret: {name: team-db-slack}}}
  - {name: audit, webhook: {secret: {name: audit-webhook, urlKey: address, keyKey: hmac}}}
rehearsal: {image: {repository: registry.example.org/rehearsal, tag: "2"}}
steps:
  imagePullSecrets: [pull]
  nodeSelector: {kubernetes.io/os: linux}
  tolerations: [{key: db, operator: Exists}]
  imagePullPolicy: Always
  securityContext: {fsGroup: 1000}
serviceAccount: {name: operator, annotations: {a: b}}
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{key: db, operator: Exists}]
affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: kubernetes.io/hostname, labelSelector: {}}}]}}
topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, labelSelector: {}}]
priorityClassName: system-cluster-critical
podLabels: {a: b}
podAnnotations: {c: d}
env: [{name: HTTPS_PROXY, value: "http://proxy:3128"}]
metrics:
  podMonitor: {enabled: true, labels: {release: prometheus}}
  serviceMonitor: {enabled: true, interval: 1m}
networkPolicy: {enabled: true, metricsFrom: [{namespaceSelector: {matchLabels: {name: monitoring}}}]}
END
}

# Renders, and asks the API server about all of it: unknown fields, types and rules. Nothing is stored.
taken_by_the_server() { # name, helm options
    local name=$1
    shift
    helm template "$name" "$chart" --namespace "$namespace" "$@" >"$work/$name.yaml"
    # The Prometheus operator's kinds are not there.
    awk 'BEGIN { RS = "---\n"; ORS = "---\n" } !/kind: (Pod|Service)Monitor/' "$work/$name.yaml" >"$work/core.yaml"
    kubectl apply --dry-run=server --validate=strict --server-side --force-conflicts --namespace "$namespace" --filename "$work/core.yaml" >"$work/answer" 2>&1 ||
        { cat "$work/answer" >&2; fail "the API server refuses what $name renders"; }
    # What kubectl says about a definition that somebody has applied before is no matter of the chart.
    ! grep --ignore-case warning "$work/answer" | grep --invert-match last-applied-configuration || fail "the API server warns about what $name renders"
}

says() { # name, texts
    local name=$1 text
    shift
    for text in "$@"; do
        grep --quiet --fixed-strings -- "$text" "$work/$name.yaml" || fail "$name does not say: $text"
    done
}

says_not() { # name, texts
    local name=$1 text
    shift
    for text in "$@"; do
        ! grep --quiet --fixed-strings -- "$text" "$work/$name.yaml" || fail "$name says: $text"
    done
}

refuses() { # what, --set-json, words of the answer
    local what=$1 value=$2 answer word
    shift 2
    if answer=$(helm template refused "$chart" --set-json "$value" 2>&1); then
        fail "accepted: $what"
    fi
    for word in "$@"; do
        grep --quiet --ignore-case "$word" <<<"$answer" || fail "$what: the answer does not say $word: $answer"
    done
}

# Deny and Fail, in the namespaces of the release and in no other; and names that the server writes down where it can.
policies_where_they_are_wanted() {
    local kinds=admissionregistration.k8s.io names="kind: MutatingAdmissionPolicy"
    says default "kind: ValidatingAdmissionPolicy" "failurePolicy: Fail" "validationActions: [Deny]" "request.namespace in []"
    says_not default "namespaceSelector:" "$names"
    says all "operator: In, values: [\"$namespace\"]" "(request.namespace in [\"sandbox\"]) && !(request.namespace in [\"shop\"])"
    helm template except "$chart" --set 'exceptNamespaces={a,b}' --api-versions "$kinds/v1/MutatingAdmissionPolicy" >"$work/except.yaml"
    says except "operator: NotIn, values: [\"a\",\"b\"]" "$names" "apiVersion: $kinds/v1"
    helm template without "$chart" --set admission.enabled=false >"$work/without.yaml"
    says_not without "AdmissionPolicy"
    helm template rights "$chart" --set admission.creatorRights=false >"$work/rights.yaml"
    says_not rights "may not create jobs"
}

install() { # helm options
    # Without pods, and without what belongs to the whole cluster and may be another's.
    helm upgrade --install chart-test "$chart" --namespace "$namespace" --set replicas=0 --set crds.install=false --set rbac.personas=false --set admission.enabled=false "$@" >/dev/null
}

may() { # verb, resource[/name][:subresource], namespace
    local resource=${2%%:*} subresource=
    [ "$resource" = "$2" ] || subresource=${2#*:}
    [ "$(kubectl auth can-i "$1" "$resource" --subresource "$subresource" --namespace "$3" --as "system:serviceaccount:$namespace:chart-test-backfill-operator" 2>/dev/null || true)" = yes ]
}

rights_of_the_operator() {
    install
    local right
    for right in "update backfillruns.backfill.dev:status" "patch backfillruns.backfill.dev" "update backfillruns.backfill.dev:finalizers" \
        "create jobs.batch" "delete jobs.batch" "watch jobs.batch" "patch pods" "get pods:log" "update configmaps" "create events.events.k8s.io" \
        "get deployments.apps" "create serviceaccounts" "create rolebindings.rbac.authorization.k8s.io" "get namespaces" \
        "bind clusterroles.rbac.authorization.k8s.io/chart-test-backfill-operator-monitor"; do
        # shellcheck disable=SC2086
        may $right default || fail "the operator may not $right"
    done
    may update leases.coordination.k8s.io/chart-test-backfill-operator "$namespace" || fail "the operator may not hold its lease"
    for right in "get secrets" "list secrets" "watch secrets" "create pods" "create pods:exec" "delete backfillruns.backfill.dev" \
        "approve backfillruns.backfill.dev" "bind clusterroles.rbac.authorization.k8s.io/cluster-admin" "escalate clusterroles.rbac.authorization.k8s.io" \
        "create clusterrolebindings.rbac.authorization.k8s.io" "create serviceaccounts:token" "impersonate users" "update deployments.apps" "get leases.coordination.k8s.io"; do
        # shellcheck disable=SC2086
        ! may $right default || fail "the operator may $right"
    done
}

rights_in_watched_namespaces_only() {
    install --set "watchNamespaces={$namespace}"
    may create jobs.batch "$namespace" || fail "the operator may not work in a watched namespace"
    ! may create jobs.batch default || fail "the operator may work in a namespace that it does not watch"
    ! may list backfillruns.backfill.dev default || fail "the operator may see runs in a namespace that it does not watch"
    may bind "clusterroles.rbac.authorization.k8s.io/chart-test-backfill-operator-monitor" "$namespace" || fail "the operator may not bind the monitor"
}

main
