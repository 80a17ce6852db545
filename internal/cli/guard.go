package cli

import (
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/sinawi/sinawi/internal/cluster"
)

// guardFlags are kube-apiserver's flags about who may do what, by the same
// names and with the same defaults.
type guardFlags struct {
	cluster.Guard
	anonymous, extend bool
}

func (a *app) addGuardFlags(set *pflag.FlagSet) *guardFlags {
	g := &guardFlags{Guard: cluster.DefaultGuard()}
	a.addAuthenticationFlags(set, g)
	a.addTokenFlags(set, g)
	a.addAuditFlags(set, g)
	set.StringVar(&g.Authorization.ConfigFile, "authorization-config", "", a.say(
		"AuthorizationConfiguration file: who is asked and in which order (Node, RBAC, webhooks); read again when it changes",
		"AuthorizationConfiguration 파일: 누구에게 어떤 순서로 묻는지 (Node, RBAC, 웹훅). 바뀌면 다시 읽습니다"))
	set.StringVar(&g.EncryptionConfig, "encryption-provider-config", "", a.say(
		"EncryptionConfiguration file; secrets are encrypted without one too; read again when it changes, and values are rewritten",
		"EncryptionConfiguration 파일. 없어도 시크릿은 암호화됩니다. 바뀌면 다시 읽고 값을 다시 씁니다"))
	set.StringSliceVar(&g.Admission.Enable, "enable-admission-plugins", nil, a.say(
		"admission plugins to add to the default ones, like OwnerReferencesPermissionEnforcement",
		"기본 외에 켤 승인 플러그인 (예: OwnerReferencesPermissionEnforcement)"))
	set.StringSliceVar(&g.Admission.Disable, "disable-admission-plugins", nil, a.say("admission plugins to leave out", "끌 승인 플러그인"))
	set.StringVar(&g.Admission.ConfigFile, "admission-control-config-file", "", a.say(
		"AdmissionConfiguration file: settings of plugins, like PodSecurity's levels and exemptions",
		"AdmissionConfiguration 파일: 플러그인 설정 (예: PodSecurity의 수준과 예외)"))
	return g
}

func (a *app) addAuthenticationFlags(set *pflag.FlagSet, g *guardFlags) {
	o := &g.OpenID
	set.StringVar(&o.ConfigFile, "authentication-config", "", a.say(
		"AuthenticationConfiguration file: OpenID Connect providers and where anonymous is let in, like /etc/sinawi/authentication.yaml; read again when it changes",
		"AuthenticationConfiguration 파일: OpenID Connect 제공자와 익명 허용 경로 (예: /etc/sinawi/authentication.yaml). 바뀌면 다시 읽습니다"))
	set.StringVar(&o.IssuerURL, "oidc-issuer-url", "", a.say("OpenID Connect provider, like https://accounts.example.com", "OpenID Connect 제공자 (예: https://accounts.example.com)"))
	set.StringVar(&o.ClientID, "oidc-client-id", "", a.say("audience that the provider's tokens must name", "제공자 토큰이 가리켜야 하는 대상"))
	set.StringVar(&o.CAFile, "oidc-ca-file", "", a.say("CA of the provider, if it is not one that this machine trusts", "제공자의 CA (이 머신이 믿는 CA가 아닐 때)"))
	set.StringVar(&o.UsernameClaim, "oidc-username-claim", "sub", a.say("claim that is the user's name", "사용자 이름으로 쓸 클레임"))
	set.StringVar(&o.UsernamePrefix, "oidc-username-prefix", "", a.say("put before users' names; - is nothing, empty is the provider's URL and #", "사용자 이름 앞에 붙일 말 (-는 없음, 비우면 제공자 URL과 #)"))
	set.StringVar(&o.GroupsClaim, "oidc-groups-claim", "", a.say("claim that lists the user's groups", "사용자 그룹이 든 클레임"))
	set.StringVar(&o.GroupsPrefix, "oidc-groups-prefix", "", a.say("put before groups' names, like oidc:", "그룹 이름 앞에 붙일 말 (예: oidc:)"))
	set.StringSliceVar(&o.SigningAlgs, "oidc-signing-algs", []string{"RS256"}, a.say("signatures that are taken", "허용하는 서명 알고리즘"))
	set.StringToStringVar(&o.RequiredClaims, "oidc-required-claim", nil, a.say("claim=value that a token must have; may be repeated", "토큰에 있어야 하는 클레임=값 (여러 번 가능)"))
	set.BoolVar(&g.anonymous, "anonymous-auth", true, a.say("let callers without credentials in as system:anonymous", "자격 증명이 없는 요청을 system:anonymous로 받습니다"))

	w := &g.TokenWebhook
	set.StringVar(&w.ConfigFile, "authentication-token-webhook-config-file", "", a.say("kubeconfig of a program that is asked whose a token is", "토큰의 주인을 물어볼 프로그램의 kubeconfig"))
	set.StringVar(&w.Version, "authentication-token-webhook-version", w.Version, a.say("version of the TokenReview that it gets: v1 or v1beta1", "보낼 TokenReview 버전: v1 또는 v1beta1"))
	set.DurationVar(&w.CacheTTL, "authentication-token-webhook-cache-ttl", w.CacheTTL, a.say("how long its answers are believed", "답을 믿는 시간"))
}

func (a *app) addTokenFlags(set *pflag.FlagSet, g *guardFlags) {
	t := &g.Tokens
	set.StringSliceVar(&t.Issuers, "service-account-issuer", nil, a.say("issuer of service account tokens, a URL; the first signs, all are believed", "서비스 어카운트 토큰의 발급자 URL (첫째가 서명하고 모두 믿습니다)"))
	set.StringSliceVar(&t.Audiences, "api-audiences", nil, a.say("names of this API in tokens; the issuers if empty", "토큰에서 이 API의 이름 (비우면 발급자)"))
	set.StringVar(&t.SigningKeyFile, "service-account-signing-key-file", "", a.say("private key that signs tokens; the cluster's own if empty; read again when it changes", "토큰에 서명할 개인 키 (비우면 클러스터의 키). 바뀌면 다시 읽습니다"))
	set.StringSliceVar(&t.KeyFiles, "service-account-key-file", nil, a.say("further keys that prove tokens, like one that signed before; may be repeated", "토큰을 확인할 다른 키 (예: 전에 서명하던 키). 여러 번 가능"))
	set.StringVar(&t.KeySetURL, "service-account-jwks-uri", "", a.say("where others find the keys; at the issuer if empty", "다른 프로그램이 키를 찾을 URL (비우면 발급자 아래)"))
	set.DurationVar(&t.MaxLifetime, "service-account-max-token-expiration", 0, a.say("longest life of a token; 0 is no limit", "토큰의 가장 긴 수명 (0이면 제한 없음)"))
	set.BoolVar(&g.extend, "service-account-extend-token-expiration", true, a.say("let pods' tokens live for a year, for programs that read theirs once", "파드 토큰을 1년 동안 유효하게 합니다 (토큰을 한 번만 읽는 프로그램을 위해)"))
}

func (a *app) addAuditFlags(set *pflag.FlagSet, g *guardFlags) {
	o := &g.Audit
	set.StringVar(&o.PolicyFile, "audit-policy-file", "", a.say("audit.k8s.io/v1 Policy file: what is recorded, like /etc/sinawi/audit.yaml; nothing is without one", "audit.k8s.io/v1 Policy 파일: 무엇을 기록할지 (예: /etc/sinawi/audit.yaml). 없으면 기록하지 않습니다"))
	set.StringVar(&o.Log.Path, "audit-log-path", "", a.say("file for records, like /var/log/sinawi/audit.log; - is standard output", "기록할 파일 (예: /var/log/sinawi/audit.log, -는 표준 출력)"))
	set.IntVar(&o.Log.MaxAge, "audit-log-maxage", o.Log.MaxAge, a.say("days that old files are kept; 0 is for ever", "오래된 파일을 두는 날 수 (0이면 계속)"))
	set.IntVar(&o.Log.MaxBackups, "audit-log-maxbackup", o.Log.MaxBackups, a.say("old files that are kept; 0 is all", "남겨 둘 오래된 파일 수 (0이면 모두)"))
	set.IntVar(&o.Log.MaxSize, "audit-log-maxsize", o.Log.MaxSize, a.say("megabytes at which a file is rotated; 0 is never", "파일을 교체할 크기(MB, 0이면 교체하지 않음)"))
	set.StringVar(&o.Log.Format, "audit-log-format", o.Log.Format, a.say("json or legacy", "json 또는 legacy"))
	set.BoolVar(&o.Log.Compress, "audit-log-compress", o.Log.Compress, a.say("compress old files", "오래된 파일을 압축합니다"))
	set.StringVar(&o.Webhook.ConfigFile, "audit-webhook-config-file", "", a.say("kubeconfig of a program that gets the records", "기록을 받을 프로그램의 kubeconfig"))
	set.DurationVar(&o.Webhook.InitialBackoff, "audit-webhook-initial-backoff", o.Webhook.InitialBackoff, a.say("wait before the first retry", "첫 재시도 전 대기 시간"))
	a.addSendFlags(set, "log", &o.Log.Send)
	a.addSendFlags(set, "webhook", &o.Webhook.Send)
}

func (a *app) addSendFlags(set *pflag.FlagSet, what string, s *cluster.AuditSend) {
	prefix := "audit-" + what + "-"
	set.StringVar(&s.Mode, prefix+"mode", s.Mode, a.say("batch, blocking or blocking-strict", "batch, blocking, blocking-strict 중 하나"))
	set.IntVar(&s.Buffer, prefix+"batch-buffer-size", s.Buffer, a.say("records that may wait", "기다릴 수 있는 기록 수"))
	set.IntVar(&s.MaxBatch, prefix+"batch-max-size", s.MaxBatch, a.say("records in one batch", "한 묶음의 기록 수"))
	set.DurationVar(&s.MaxWait, prefix+"batch-max-wait", s.MaxWait, a.say("longest wait for a full batch", "묶음을 기다리는 가장 긴 시간"))
	set.Float32Var(&s.QPS, prefix+"batch-throttle-qps", s.QPS, a.say("batches a second; 0 is no limit", "초당 묶음 수 (0이면 제한 없음)"))
	set.IntVar(&s.Burst, prefix+"batch-throttle-burst", s.Burst, a.say("batches at one moment", "한순간의 묶음 수"))
	set.BoolVar(&s.Truncate, prefix+"truncate-enabled", s.Truncate, a.say("cut records that are too large", "너무 큰 기록을 자릅니다"))
	set.Int64Var(&s.MaxEvent, prefix+"truncate-max-event-size", s.MaxEvent, a.say("bytes of a record", "기록 하나의 바이트 수"))
	set.Int64Var(&s.MaxBytes, prefix+"truncate-max-batch-size", s.MaxBytes, a.say("bytes of a batch", "한 묶음의 바이트 수"))
}

// guard returns what the flags say, with files by their full paths: a detached
// server may run elsewhere.
func (g *guardFlags) guard() (cluster.Guard, error) {
	g.NoAnonymous, g.Tokens.NoExtension = !g.anonymous, !g.extend
	files := []*string{
		&g.OpenID.ConfigFile, &g.OpenID.CAFile, &g.TokenWebhook.ConfigFile, &g.Tokens.SigningKeyFile, &g.Authorization.ConfigFile,
		&g.EncryptionConfig, &g.Admission.ConfigFile, &g.Audit.PolicyFile, &g.Audit.Webhook.ConfigFile,
	}
	if g.Audit.Log.Path != "-" {
		files = append(files, &g.Audit.Log.Path)
	}
	for i := range g.Tokens.KeyFiles {
		files = append(files, &g.Tokens.KeyFiles[i])
	}
	for _, file := range files {
		if *file == "" {
			continue
		}
		full, err := filepath.Abs(*file)
		if err != nil {
			return g.Guard, err
		}
		*file = full
	}
	return g.Guard, nil
}
