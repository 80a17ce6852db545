package serviceaccount

import (
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
)

// claims is the body of a token.
type claims struct {
	jwt.Claims
	// Audience is a list even when it has one entry, as upstream writes it;
	// the library's own field would shrink it to a string.
	Audience   []string    `json:"aud,omitempty"`
	Kubernetes *references `json:"kubernetes.io,omitempty"` // nil in a token kept in a secret
	legacy
}

// references names the objects that a token speaks for or is bound to.
type references struct {
	Namespace      string           `json:"namespace,omitempty"`
	Node           *reference       `json:"node,omitempty"`
	Pod            *reference       `json:"pod,omitempty"`
	Secret         *reference       `json:"secret,omitempty"`
	ServiceAccount reference        `json:"serviceaccount"`
	WarnAfter      *jwt.NumericDate `json:"warnafter,omitempty"`
}

type reference struct {
	Name string `json:"name,omitempty"`
	UID  string `json:"uid,omitempty"`
}

// legacy is what tokens that live in a secret carry in place of references.
type legacy struct {
	AccountName string `json:"kubernetes.io/serviceaccount/service-account.name,omitempty"`
	AccountUID  string `json:"kubernetes.io/serviceaccount/service-account.uid,omitempty"`
	SecretName  string `json:"kubernetes.io/serviceaccount/secret.name,omitempty"`
	Namespace   string `json:"kubernetes.io/serviceaccount/namespace,omitempty"`
}

// Grant is what a token shall say.
type Grant struct {
	Namespace string
	Account   Object
	// Pod, Node and Secret bind the token. A pod's token also names the pod's
	// node, for the record.
	Pod, Node, Secret *Object
	Audiences         []string
	Lifetime          time.Duration
	// WarnAfter marks a token that lives longer than its holder was told, so
	// that holders which never refresh it are found before they break.
	WarnAfter time.Duration
}

// Object is an object's name, and its uid where it is known.
type Object struct{ Name, UID string }

// claimsFor writes down a grant made at now.
func claimsFor(issuer, id string, g Grant, now time.Time) claims {
	c := claims{
		Claims: jwt.Claims{
			ID:        id,
			Issuer:    issuer,
			Subject:   serviceaccount.MakeUsername(g.Namespace, g.Account.Name),
			IssuedAt:  jwt.NewNumericDate(now),
			NotBefore: jwt.NewNumericDate(now),
			Expiry:    jwt.NewNumericDate(now.Add(g.Lifetime)),
		},
		Audience: g.Audiences,
		Kubernetes: &references{
			Namespace:      g.Namespace,
			ServiceAccount: reference(g.Account),
			Pod:            refer(g.Pod),
			Node:           refer(g.Node),
			Secret:         refer(g.Secret),
		},
	}
	if g.WarnAfter > 0 {
		c.Kubernetes.WarnAfter = jwt.NewNumericDate(now.Add(g.WarnAfter))
	}
	return c
}

func refer(o *Object) *reference {
	if o == nil {
		return nil
	}
	return (*reference)(o)
}

// overdue says how many seconds ago the holder was to have refreshed a token
// that lives longer than it was told.
func (c *claims) overdue(now time.Time) (int64, bool) {
	if c.Kubernetes == nil || c.Kubernetes.WarnAfter == nil || *c.Kubernetes.WarnAfter == 0 {
		return 0, false
	}
	late := now.Unix() - int64(*c.Kubernetes.WarnAfter)
	return late, late > 0
}
