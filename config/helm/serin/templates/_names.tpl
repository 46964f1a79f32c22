{{/* What several templates say: names, labels, and the container that Serin is. */}}

{{- define "serin.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 53 | trimSuffix "-" }}
{{- end }}

{{- define "serin.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" }}
{{- else if contains (include "serin.name" .) .Release.Name }}
{{- .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "serin.name" .) | trunc 53 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "serin.selectorLabels" -}}
app.kubernetes.io/name: {{ include "serin.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "serin.labels" -}}
{{ include "serin.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "serin.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "serin.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "serin.image" -}}
{{- $image := printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- with .Values.image.digest }}{{ $image = printf "%s@%s" $image . }}{{ end }}
{{- $image }}
{{- end }}

{{/* Whether the chart itself keeps the rules: "true" or nothing. */}}
{{- define "serin.ownsRules" -}}
{{- if not (or .Values.rules.existingConfigMap .Values.rules.selector) }}true{{ end }}
{{- end }}

{{/* The name of the ConfigMap with the rules, without a key. */}}
{{- define "serin.configMapName" -}}
{{- if .Values.rules.existingConfigMap }}
{{- first (splitList "/" .Values.rules.existingConfigMap) }}
{{- else }}
{{- include "serin.fullname" . }}
{{- end }}
{{- end }}

{{/* What Serin is, whether alone or beside an app: image, arguments, variables, probes. */}}
{{- define "serin.container" -}}
image: {{ include "serin.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  - run
  {{- if .Values.rules.selector }}
  - --configmap-selector
  - $(POD_NAMESPACE)/{{ .Values.rules.selector }}
  {{- else }}
  - --configmap
  - $(POD_NAMESPACE)/{{ default (include "serin.fullname" .) .Values.rules.existingConfigMap }}
  {{- end }}
  # Probes and scrapes come from outside of the pod.
  - --admin
  - 0.0.0.0:{{ .Values.adminPort }}
env:
  # Names the replica in Events.
  - name: POD_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  - name: POD_NAMESPACE
    valueFrom:
      fieldRef:
        fieldPath: metadata.namespace
  - name: SERIN_LOG
    value: {{ .Values.log.level | quote }}
  - name: SERIN_LOG_FORMAT
    value: {{ .Values.log.format }}
  {{- if eq .Values.mode "sidecar" }}
  - name: SERIN_WORKERS
    value: {{ .Values.sidecar.workers | quote }}
  {{- else if dig "requests" "cpu" "" .Values.resources }}
  # As many workers as there are cores promised, not one for each core of the node.
  - name: SERIN_WORKERS
    valueFrom:
      resourceFieldRef:
        resource: requests.cpu
        divisor: "1"
  {{- end }}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
# Alive although the rules are missing or wrong: a restart would not mend them.
startupProbe:
  httpGet:
    path: /livez
    port: serin-admin
  periodSeconds: 1
  failureThreshold: 30
livenessProbe:
  httpGet:
    path: /livez
    port: serin-admin
  periodSeconds: 10
  timeoutSeconds: 2
  failureThreshold: 3
# Ready when rules are in use; no more when it drains.
readinessProbe:
  httpGet:
    path: /readyz
    port: serin-admin
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
{{- if .Values.preStopSeconds }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ .Values.preStopSeconds }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.volumeMounts }}
volumeMounts:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
An item of a pod's initContainers that is Serin as a native sidecar. It is called with the chart's own
context: `include "serin.sidecar" .Subcharts.serin`.
*/}}
{{- define "serin.sidecar" -}}
{{- if ne .Values.mode "sidecar" }}
{{- fail "serin.sidecar: the chart serin needs `mode: sidecar` for it" }}
{{- end -}}
name: serin
# What makes it a sidecar: it starts before the app and ends after it.
restartPolicy: Always
{{ include "serin.container" . }}
ports:
  {{- range .Values.ports }}
  - name: serin-{{ .name }}
    containerPort: {{ .containerPort }}
  {{- end }}
  - name: serin-admin
    containerPort: {{ .Values.adminPort }}
resources:
  {{- toYaml .Values.sidecar.resources | nindent 2 }}
{{- end }}

{{/* The ServiceAccounts that the rights are for. */}}
{{- define "serin.subjects" -}}
{{- $namespace := .Release.Namespace }}
{{- range prepend .Values.additionalServiceAccounts (include "serin.serviceAccountName" .) | uniq }}
- kind: ServiceAccount
  name: {{ . }}
  namespace: {{ $namespace }}
{{- end }}
{{- end }}
