package apiserver

import (
	"errors"
	"log/slog"
	"net"

	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/sinawi/sinawi/internal/apiserver/resources"
	"github.com/sinawi/sinawi/internal/store"
)

// Config is what a server needs. All of it is required unless it says otherwise.
type Config struct {
	Store *store.Store
	// Rows are the resources to serve.
	Rows []resources.Resource

	// Listeners accept connections; the server closes them. The first one
	// gives the address that the server tells of itself unless
	// AdvertiseAddress is set.
	Listeners        []net.Listener
	AdvertiseAddress net.IP // optional

	CertPEM, KeyPEM []byte
	ClientCAPEM     []byte // whose client certificates are asked for

	Authenticator authenticator.Request
	Authorizer    authorizer.Authorizer
	RuleResolver  authorizer.RuleResolver // optional
	Admission     admission.Interface     // optional
	APIAudiences  []string                // optional

	Logger *slog.Logger // optional
}

func (c *Config) validate() error {
	var errs []error
	for _, need := range []struct {
		missing bool
		what    string
	}{
		{c.Store == nil, "Store"},
		{len(c.Rows) == 0, "Rows"},
		{len(c.Listeners) == 0, "Listeners"},
		{len(c.CertPEM) == 0 || len(c.KeyPEM) == 0, "CertPEM and KeyPEM"},
		{c.Authenticator == nil, "Authenticator"},
		{c.Authorizer == nil, "Authorizer"},
	} {
		if need.missing {
			errs = append(errs, errors.New("config: "+need.what+" is missing"))
		}
	}
	return errors.Join(errs...)
}
