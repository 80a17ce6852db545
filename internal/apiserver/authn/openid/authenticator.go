package openid

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"sync/atomic"
	"time"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/util/filesystem"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
)

const (
	// lookAgain is how often the file is read where the kernel tells nothing of
	// changes, as on network file systems.
	lookAgain = time.Minute
	// Providers of a changed file must answer within answerWithin, and are
	// asked every askEvery: the plugin has no signal for it.
	answerWithin = time.Minute
	askEvery     = 100 * time.Millisecond
	// linger is how long requests that began with the old providers may take.
	linger = time.Minute
)

// Authenticator proves users by tokens. It implements authenticator.Token; until
// Start no token is good.
type Authenticator struct {
	options Options
	issuers []string
	id      string
	log     *slog.Logger

	first   Config
	current atomic.Pointer[providers]
}

// providers are those of one file.
type providers struct {
	jwt    []apiserver.JWTAuthenticator
	token  authenticator.Token // nil: none
	checks []func() error
	end    context.CancelFunc
}

// New returns the authenticator of what options name and the configuration
// that they come to. id tells this server from others in metrics.
func New(o Options, issuers []string, id string, log *slog.Logger) (*Authenticator, Config, error) {
	c, err := o.Load(issuers)
	if err != nil {
		return nil, c, err
	}
	return &Authenticator{options: o, issuers: issuers, id: id, log: log, first: c}, c, nil
}

// AuthenticateToken implements authenticator.Token.
func (a *Authenticator) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	p := a.current.Load()
	if p == nil || p.token == nil {
		return nil, false, nil
	}
	return p.token.AuthenticateToken(ctx, token)
}

// Start begins to fetch the providers' keys, until ctx ends.
func (a *Authenticator) Start(ctx context.Context) error {
	p, err := a.build(ctx, a.first)
	if err != nil {
		return err
	}
	a.current.Store(p)
	return nil
}

// Run follows the file until ctx ends.
func (a *Authenticator) Run(ctx context.Context) error {
	if a.options.ConfigFile == "" {
		<-ctx.Done()
		return nil
	}
	filesystem.WatchUntil(ctx, lookAgain, a.options.ConfigFile, func() {
		if err := a.reload(ctx); err != nil && ctx.Err() == nil {
			a.log.ErrorContext(ctx, "changed authentication configuration not taken", "err", err)
		}
	}, func(err error) {
		a.log.WarnContext(ctx, "authentication configuration not followed", "err", err)
	})
	return nil
}

func (a *Authenticator) reload(ctx context.Context) error {
	c, err := a.options.Load(a.issuers)
	if err != nil {
		return err
	}
	before := a.current.Load()
	if before != nil && reflect.DeepEqual(before.jwt, c.JWT) {
		return nil
	}
	p, err := a.build(ctx, c)
	if err != nil {
		return err
	}
	if err := p.answer(ctx); err != nil {
		p.end()
		return err
	}
	a.current.Store(p)
	a.log.InfoContext(ctx, "authentication configuration taken", "file", a.options.ConfigFile, "providers", len(c.JWT))
	if before != nil {
		time.AfterFunc(linger, before.end)
	}
	return nil
}

func (a *Authenticator) build(ctx context.Context, c Config) (*providers, error) {
	ctx, end := context.WithCancel(ctx)
	p := &providers{jwt: c.JWT, end: end}
	var tokens []authenticator.Token
	for _, jwt := range c.JWT {
		o := oidc.Options{
			JWTAuthenticator: jwt, SupportedSigningAlgs: c.algorithms,
			DisallowedIssuers: a.issuers, APIServerID: a.id,
		}
		if ca := jwt.Issuer.CertificateAuthority; ca != "" {
			content, err := dynamiccertificates.NewStaticCAContent("oidc-authenticator", []byte(ca))
			if err != nil {
				end()
				return nil, fmt.Errorf("certificate authority of issuer %s: %w", jwt.Issuer.URL, err)
			}
			o.CAContentProvider = content
		}
		one, err := oidc.New(ctx, o)
		if err != nil {
			end()
			return nil, fmt.Errorf("issuer %s: %w", jwt.Issuer.URL, err)
		}
		tokens, p.checks = append(tokens, one), append(p.checks, one.HealthCheck)
	}
	if len(tokens) > 0 {
		p.token = tokenunion.New(tokens...)
	}
	return p, nil
}

// answer waits until all providers have told their keys.
func (p *providers) answer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	for _, check := range p.checks {
		for {
			err := check()
			if err == nil {
				break
			}
			select {
			case <-time.After(askEvery):
			case <-ctx.Done():
				return fmt.Errorf("a provider did not answer within %s: %w", answerWithin, err)
			}
		}
	}
	return nil
}
