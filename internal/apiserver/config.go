package apiserver

import (
	"errors"
	"log/slog"
	"net"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/sinawi/sinawi/internal/apiserver/audit"
	"github.com/sinawi/sinawi/internal/apiserver/plug"
	"github.com/sinawi/sinawi/internal/apiserver/resources"
	"github.com/sinawi/sinawi/internal/store"
)

// Config is what a server needs. All of it is required unless it says otherwise.
type Config struct {
	Store *store.Store
	// Rows are the resources to serve, and Defaults registers what fills in
	// what their writers left out.
	Rows     []resources.Resource
	Defaults func(*runtime.Scheme) error // optional

	// Listeners accept connections; the server closes them. The first one
	// gives the address that the server tells of itself unless
	// AdvertiseAddress is set.
	Listeners        []net.Listener
	AdvertiseAddress net.IP // optional

	CertPEM, KeyPEM []byte
	ClientCAPEM     []byte // whose client certificates are asked for

	// Authenticate, Authorize and Admit make the three gates of a request.
	Authenticate func(*plug.Host) (authenticator.Request, error)
	Authorize    func(*plug.Host) (authorizer.Authorizer, authorizer.RuleResolver, error)
	Admit        func(*plug.Host) (admission.Interface, error) // optional
	APIAudiences []string                                      // optional

	// Extensions add what rows cannot say, in order. Optional.
	Extensions []plug.Extension
	// Transformer encrypts the stored values of a resource. Optional.
	Transformer func(schema.GroupResource) value.Transformer
	// Audit records requests. The zero value records nothing.
	Audit audit.Audit
	// Checks are further things that must be well for the server to be. Optional.
	Checks []healthz.HealthChecker
	// Types are the schemas by which applied fields are merged. Optional: by
	// default they are guessed from the objects, and every list is atomic.
	Types managedfields.TypeConverter

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
		{c.Authenticate == nil, "Authenticate"},
		{c.Authorize == nil, "Authorize"},
	} {
		if need.missing {
			errs = append(errs, errors.New("config: "+need.what+" is missing"))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) complete() {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Types == nil {
		c.Types = managedfields.NewDeducedTypeConverter()
	}
}
