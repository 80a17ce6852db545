package openid

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
)

// Options name the providers. The zero value names none.
type Options struct {
	// ConfigFile is an AuthenticationConfiguration. It takes the place of all
	// that follows.
	ConfigFile string

	IssuerURL, ClientID           string
	CAFile                        string
	UsernameClaim, UsernamePrefix string // default: sub, and the issuer's URL with #
	GroupsClaim, GroupsPrefix     string
	SigningAlgs                   []string // default: RS256
	RequiredClaims                map[string]string
}

// Enabled says whether tokens of any provider may be good.
func (o Options) Enabled() bool { return o.ConfigFile != "" || o.IssuerURL != "" }

// Config is what the options come to.
type Config struct {
	apiserver.AuthenticationConfiguration
	algorithms []string
}

// Load reads the file, or makes of the flags what a file would say, and checks
// it. issuers are those of this cluster's own tokens, which no provider may
// claim to be.
func (o Options) Load(issuers []string) (Config, error) {
	c, err := o.read()
	if err != nil {
		return c, err
	}
	errs := validation.ValidateAuthenticationConfiguration(authenticationcel.NewDefaultCompiler(), &c.AuthenticationConfiguration, issuers)
	if len(errs) == 0 {
		return c, nil
	}
	if o.ConfigFile != "" {
		return c, fmt.Errorf("--authentication-config %s: %w", o.ConfigFile, errs.ToAggregate())
	}
	return c, fmt.Errorf("--oidc flags: %w", errs.ToAggregate())
}

func (o Options) read() (Config, error) {
	if o.ConfigFile == "" {
		return o.fromFlags()
	}
	if o.IssuerURL != "" || o.ClientID != "" {
		return Config{}, errors.New("--authentication-config and --oidc flags are both set; name the provider in the file under jwt and leave the flags out")
	}
	data, err := os.ReadFile(o.ConfigFile)
	if err != nil {
		return Config{}, fmt.Errorf("--authentication-config: %w", err)
	}
	c, err := decode(data)
	if err != nil {
		return Config{}, fmt.Errorf("--authentication-config %s: %w", o.ConfigFile, err)
	}
	return Config{*c, oidc.AllValidSigningAlgorithms()}, nil
}

// decode reads a configuration of any served version; unknown fields are
// refused, as they are mostly misspelt ones.
func decode(data []byte) (*apiserver.AuthenticationConfiguration, error) {
	types := runtime.NewScheme()
	install.Install(types)
	codecs := serializer.NewCodecFactory(types, serializer.EnableStrict)
	obj, err := runtime.Decode(codecs.UniversalDecoder(), data)
	if err != nil {
		return nil, err
	}
	c, ok := obj.(*apiserver.AuthenticationConfiguration)
	if !ok {
		return nil, fmt.Errorf("kind: expected AuthenticationConfiguration, got %T", obj)
	}
	return c, nil
}

// fromFlags says in the words of a file what the flags say.
func (o Options) fromFlags() (Config, error) {
	var c Config
	switch {
	case o.IssuerURL == "" && o.ClientID == "":
		return c, nil
	case o.IssuerURL == "" || o.ClientID == "":
		return c, errors.New("--oidc-issuer-url and --oidc-client-id must be set together")
	}
	jwt := apiserver.JWTAuthenticator{Issuer: apiserver.Issuer{URL: o.IssuerURL, Audiences: []string{o.ClientID}}}
	if o.CAFile != "" {
		ca, err := os.ReadFile(o.CAFile)
		if err != nil {
			return c, fmt.Errorf("--oidc-ca-file: %w", err)
		}
		jwt.Issuer.CertificateAuthority = string(ca)
	}
	jwt.ClaimMappings.Username = o.username()
	if o.GroupsClaim != "" {
		prefix := o.GroupsPrefix
		jwt.ClaimMappings.Groups = apiserver.PrefixedClaimOrExpression{Claim: o.GroupsClaim, Prefix: &prefix}
	}
	for _, claim := range slices.Sorted(maps.Keys(o.RequiredClaims)) {
		jwt.ClaimValidationRules = append(jwt.ClaimValidationRules, apiserver.ClaimValidationRule{
			Claim: claim, RequiredValue: o.RequiredClaims[claim],
		})
	}
	c.JWT = []apiserver.JWTAuthenticator{jwt}
	c.algorithms = o.SigningAlgs
	return c, nil
}

// username keeps users of different providers apart: "-" is how to ask for no
// prefix, and mail addresses need none.
func (o Options) username() apiserver.PrefixedClaimOrExpression {
	claim, prefix := o.UsernameClaim, o.UsernamePrefix
	if claim == "" {
		claim = "sub"
	}
	switch {
	case prefix == "-":
		prefix = ""
	case prefix == "" && claim != "email":
		prefix = o.IssuerURL + "#"
	}
	return apiserver.PrefixedClaimOrExpression{Claim: claim, Prefix: &prefix}
}
