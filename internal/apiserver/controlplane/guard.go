package controlplane

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sinawi/sinawi/internal/apiserver/admission"
	"github.com/sinawi/sinawi/internal/apiserver/audit"
	"github.com/sinawi/sinawi/internal/apiserver/authn/openid"
	"github.com/sinawi/sinawi/internal/apiserver/authn/serviceaccount"
	"github.com/sinawi/sinawi/internal/apiserver/authn/tokenwebhook"
	"github.com/sinawi/sinawi/internal/apiserver/authz"
	"github.com/sinawi/sinawi/internal/pki"
)

// Guard is what an administrator sets about who may do what, and what is
// recorded of it. The zero value is the way of a new cluster.
type Guard struct {
	OpenID       openid.Options
	TokenWebhook tokenwebhook.Options
	// NoAnonymous refuses callers without credentials.
	NoAnonymous   bool
	Tokens        Tokens
	Authorization authz.Options
	Admission     admission.Options
	Audit         audit.Options
	// EncryptionConfig is a file that says how what is encrypted at rest.
	EncryptionConfig string
}

// AuditSend is how records leave the request that made them.
type AuditSend = audit.Send

// DefaultGuard has upstream's defaults, for those who set some of them.
func DefaultGuard() Guard {
	return Guard{TokenWebhook: tokenwebhook.Defaults(), Audit: audit.Defaults()}
}

// Tokens says how service account tokens are made and proved.
type Tokens struct {
	Issuers        []string // the first signs, all are believed
	Audiences      []string // default: the issuers
	SigningKeyFile string   // default: the cluster's own key
	KeyFiles       []string // further keys that prove
	KeySetURL      string   // where others find the keys; default: at the issuer
	MaxLifetime    time.Duration
	// NoExtension keeps the tokens of pods to an hour. Otherwise they live for a
	// year, for programs that read theirs only once.
	NoExtension bool
}

// Check says what is wrong with the files and rules, and changes nothing.
func (g Guard) Check() error {
	_, err := g.OpenID.Load(g.Tokens.issuers(""))
	errs := []error{err, g.Tokens.validate(), g.TokenWebhook.Check(), g.Authorization.Check(), g.Admission.Check(), g.Audit.Check()}
	if g.NoAnonymous && g.OpenID.ConfigFile != "" && err == nil {
		if c, _ := g.OpenID.Load(nil); c.Anonymous != nil {
			errs = append(errs, fmt.Errorf("--anonymous-auth is set and %s has the field anonymous; leave one of them out", g.OpenID.ConfigFile))
		}
	}
	if g.EncryptionConfig != "" {
		errs = append(errs, checkEncryption(g.EncryptionConfig))
	}
	return errors.Join(errs...)
}

func (t Tokens) validate() error {
	for _, issuer := range t.Issuers {
		// Upstream takes names that are no URLs, without discovery for others.
		if u, err := url.Parse(issuer); issuer == "" || err != nil || u.Scheme == "http" {
			return fmt.Errorf("--service-account-issuer %q is no URL like https://kubernetes.default.svc", issuer)
		}
	}
	if u, err := url.Parse(t.KeySetURL); t.KeySetURL != "" && (err != nil || u.Scheme != "https") {
		return fmt.Errorf("--service-account-jwks-uri %q must be an https URL", t.KeySetURL)
	}
	if t.MaxLifetime != 0 && (t.MaxLifetime < time.Hour || t.MaxLifetime > (1<<32)*time.Second) {
		return fmt.Errorf("--service-account-max-token-expiration %s must be between 1h and 2^32 seconds", t.MaxLifetime)
	}
	if len(t.KeyFiles) > 0 && t.SigningKeyFile != "" {
		_, err := serviceaccount.Files{Signing: t.SigningKeyFile, Verifying: t.KeyFiles}.Load()
		return err
	}
	return nil
}

func (t Tokens) issuers(domain string) []string {
	if len(t.Issuers) > 0 {
		return slices.Clone(t.Issuers)
	}
	return []string{"https://kubernetes.default.svc." + domain}
}

func (t Tokens) files(keys *pki.PKI) serviceaccount.Files {
	f := serviceaccount.Files{Signing: t.SigningKeyFile, Verifying: t.KeyFiles}
	if f.Signing == "" {
		f.Signing = keys.ServiceAccountKeyFile()
	}
	return f
}

// AccountTokens returns what signs the tokens that are kept in secrets. Keys are
// read for each: such tokens are made seldom, and keys change.
func AccountTokens(g Guard, keys *pki.PKI) func(account *corev1.ServiceAccount, secret string) (string, error) {
	files := g.Tokens.files(keys)
	return func(account *corev1.ServiceAccount, secret string) (string, error) {
		loaded, err := files.Load()
		if err != nil {
			return "", err
		}
		holder := serviceaccount.Object{Name: account.Name, UID: string(account.UID)}
		return serviceaccount.NewIssuer("", loaded, time.Now).IssueForSecret(account.Namespace, holder, secret)
	}
}
