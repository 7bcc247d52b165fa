{{/* Names, cut so that what is added to them still fits in a label. */}}
{{- define "backfill.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "backfill.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "backfill.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "backfill.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "backfill.serviceAccount" -}}
{{- default (ternary (include "backfill.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- define "backfill.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag }}
{{- .Values.image.repository }}:{{ $tag }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{- define "backfill.selector" -}}
app.kubernetes.io/name: {{ include "backfill.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "backfill.labels" -}}
{{ include "backfill.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* What the operator may do in the namespaces of the runs: in a ClusterRole, or in a Role for each watched namespace. */}}
{{- define "backfill.rules" -}}
# The runs: their spec is read, finalizers are written (a patch of the object), the status is written.
- apiGroups: [backfill.dev]
  resources: [backfillruns]
  verbs: [get, list, watch, update, patch]
- apiGroups: [backfill.dev]
  resources: [backfillruns/status]
  verbs: [update, patch]
# Owner references that block deletion need this where the server checks them.
- apiGroups: [backfill.dev]
  resources: [backfillruns/finalizers]
  verbs: [update]
# Every step is a Job.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
# Verdicts are read from pods; what changes while a step runs is written as an annotation on its pod.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
# Inputs of steps and reports are made, and taken away, here; a flag, schemas and rules live in ConfigMaps that the run names, so
# that no list of names can be given.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, create, update, patch, delete]
# Why a pod does not start: kubelet and Job controller say it in events. A Secret that is missing is found out this way, so
# that the operator needs no right to Secrets at all.
- apiGroups: [""]
  resources: [events]
  verbs: [get, list, create, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
# CloudNativePG, where it is installed: a database that it manages is not swapped by name, and a run may name a Backup of it.
- apiGroups: [postgresql.cnpg.io]
  resources: [backups]
  verbs: [get]
- apiGroups: [postgresql.cnpg.io]
  resources: [clusters]
  verbs: [get, list]
- apiGroups: [postgresql.cnpg.io]
  resources: [databases]
  verbs: [list]
# The release: image, commit and environment of the workload.
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get]
# The monitor step reads logs with a service account of its own, bound to one ClusterRole and to no other.
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [create]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings]
  verbs: [create]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [clusterroles]
  verbs: [bind]
  resourceNames: [{{ include "backfill.fullname" . }}-monitor]
{{- end }}
