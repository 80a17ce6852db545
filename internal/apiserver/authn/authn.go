// Package authn decides who makes a request: it joins the ways in which a
// caller can prove itself into one authenticator, in upstream's order.
//
//	front proxy headers   an aggregator speaks for its user
//	client certificate    CN is the user, O are the groups
//	bearer token          service account, bootstrap token, what options add
//	nobody                system:anonymous, where it is let in
//
// What proves one kind of credential is a package of its own below this one.
// The package starts no goroutine and keeps no state but a short cache of
// proved tokens and certificates.
package authn

import (
	"errors"
	"log/slog"
	"time"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	tokencache "k8s.io/apiserver/pkg/authentication/token/cache"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"

	"github.com/sinawi/sinawi/internal/apiserver/authn/bootstraptoken"
	"github.com/sinawi/sinawi/internal/apiserver/authn/certificate"
	"github.com/sinawi/sinawi/internal/apiserver/authn/serviceaccount"
)

// tokenCacheTTL is how long a proved token is believed again. It bounds both
// the cost of a busy client and how long a withdrawn token lives on.
const tokenCacheTTL = 10 * time.Second

// Options says which credentials are taken. The zero value takes none but
// service account tokens, and lets anonymous in as upstream does.
type Options struct {
	// ClientCA returns how client certificates are verified, afresh for every
	// request so that a CA can be replaced (CAContentProvider.VerifyOptions).
	ClientCA x509.VerifyOptionFunc
	// FrontProxy is how the certificates of aggregators are verified, and
	// FrontProxyNames their common names; no names means any that the CA signed.
	FrontProxy      x509.VerifyOptionFunc
	FrontProxyNames []string
	// Issuers are the names by which service account tokens may be signed.
	Issuers []string
	// Audiences are the names that the API server goes by in tokens.
	Audiences []string
	// Tokens are further ways to prove a bearer token.
	Tokens []authenticator.Token
	// NoAnonymous refuses callers without credentials; AnonymousPaths lets
	// them in on these paths only.
	NoAnonymous    bool
	AnonymousPaths []string
}

func (o Options) validate() error {
	if len(o.Issuers) == 0 || len(o.Audiences) == 0 {
		return errors.New("authentication needs the issuers and audiences of service account tokens")
	}
	if o.NoAnonymous && len(o.AnonymousPaths) > 0 {
		return errors.New("anonymous paths are named, but anonymous access is off")
	}
	return nil
}

// New returns the authenticator of the API server.
func New(keys *serviceaccount.Keys, objects serviceaccount.Objects, log *slog.Logger, o Options) (authenticator.Request, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	var ways []authenticator.Request
	if o.FrontProxy != nil {
		ways = append(ways, authenticator.WrapAudienceAgnosticRequest(o.Audiences, headerrequest.NewDynamicVerifyOptionsSecure(
			o.FrontProxy,
			headerrequest.StaticStringSlice(o.FrontProxyNames),
			headerrequest.StaticStringSlice{"X-Remote-User"},
			headerrequest.StaticStringSlice{"X-Remote-Uid"},
			headerrequest.StaticStringSlice{"X-Remote-Group"},
			headerrequest.StaticStringSlice{"X-Remote-Extra-"},
		)))
	}
	if o.ClientCA != nil {
		ways = append(ways, authenticator.WrapAudienceAgnosticRequest(o.Audiences,
			certificate.New(o.ClientCA)))
	}
	tokens := append([]authenticator.Token{
		serviceaccount.NewAuthenticator(o.Issuers, keys, o.Audiences, objects, log, time.Now),
		authenticator.WrapAudienceAgnosticToken(o.Audiences, bootstraptoken.New(objects, log, time.Now)),
	}, o.Tokens...)
	token := tokencache.New(tokenunion.New(tokens...), false, tokenCacheTTL, 0)
	ways = append(ways, bearertoken.New(token), websocket.NewProtocolAuthenticator(token))

	proved := group.NewAuthenticatedGroupAdder(union.New(ways...))
	if o.NoAnonymous {
		return proved, nil
	}
	var conditions []apiserver.AnonymousAuthCondition
	for _, path := range o.AnonymousPaths {
		conditions = append(conditions, apiserver.AnonymousAuthCondition{Path: path})
	}
	// A credential that fails is refused: it must not be taken for nobody's.
	return union.NewFailOnError(proved, anonymous.NewAuthenticator(conditions)), nil
}
