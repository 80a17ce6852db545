package controlplane

import (
	"time"

	"github.com/sinawi/sinawi/internal/apiserver/authn/serviceaccount"
	"github.com/sinawi/sinawi/internal/apiserver/plug"
	"github.com/sinawi/sinawi/internal/apiserver/reviews"
)

// reviews answers questions about callers and issues their tokens.
func (i *identity) reviews(h *plug.Host) (plug.Additions, error) {
	return reviews.Extension(reviews.Options{
		Issuer:      serviceaccount.NewIssuer(i.issuers[0], i.keys, time.Now),
		Audiences:   i.audiences,
		MaxLifetime: i.guard.Tokens.MaxLifetime,
		NoExtension: i.guard.Tokens.NoExtension,
	})(h)
}
