{{/* The release's name, once where it already names the worker. */}}
{{- define "ledger.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" (.Release.Name | trunc 26 | trimSuffix "-") .Chart.Name }}{{ end }}
{{- end }}

{{- define "ledger.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ledger.labels" -}}
{{ include "ledger.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "ledger.image" -}}
{{- with .Values.image }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}{{ end }}
{{- end }}

{{/* What every pod of the worker has; takes the root. No token, no root, nothing of other Services in its environment. */}}
{{- define "ledger.pod" -}}
automountServiceAccountToken: false
{{- with .Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
# else a Service that is called ledger-… puts LEDGER_… variables into the environment, which the worker takes for settings
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "ledger.container" -}}
image: {{ include "ledger.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Environment and mount of a container; takes root, settings and secrets. Empty settings and null references are not given. */}}
{{- define "ledger.environment" -}}
env:
  {{- range $name, $value := .settings }}
  {{- if $value }}
  {{- if index $.secrets $name }}
  {{- fail (printf "%s stands in settings and in secrets: give one" $name) }}
  {{- end }}
  - name: {{ $name }}
    value: {{ $value | quote }}
  {{- end }}
  {{- end }}
  {{- range $name, $reference := .secrets }}
  {{- if $reference }}
  - name: {{ $name }}_FILE
    value: /run/ledger/{{ $name }}
  {{- end }}
  {{- end }}
volumeMounts:
  - name: secrets
    mountPath: /run/ledger
    readOnly: true
{{- end }}

{{/* A whole volume, no part of one: so what is replaced in a Secret arrives in the running pod. */}}
{{- define "ledger.volumes" -}}
volumes:
  - name: secrets
    projected:
      defaultMode: 0440
      sources:
        {{- range $name, $reference := merge (deepCopy .secrets) .root.Values.files }}
        {{- if $reference }}
        - secret:
            name: {{ $reference.secret }}
            items:
              - key: {{ $reference.key }}
                path: {{ $name }}
        {{- end }}
        {{- end }}
{{- end }}

{{/* Egress to one destination of values.networkPolicy. */}}
{{- define "ledger.egress" -}}
- ports:
    {{- range .ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "ledger.egressDns" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end }}
