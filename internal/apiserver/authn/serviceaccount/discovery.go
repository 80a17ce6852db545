package serviceaccount

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/go-jose/go-jose/v4"
)

// Paths of the documents by which others find the keys.
const (
	ConfigurationPath = "/.well-known/openid-configuration"
	KeySetPath        = "/openid/v1/jwks"
)

// Documents serves OpenID provider discovery: who issues tokens, and by which
// keys they are proved. Both documents are made once.
type Documents struct {
	configuration, keySet []byte
}

// configuration has the fields that relying parties need.
type configuration struct {
	Issuer        string   `json:"issuer"`
	KeySet        string   `json:"jwks_uri"`
	ResponseTypes []string `json:"response_types_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
}

// NewDocuments makes the documents of issuer; keySetURL is where relying
// parties fetch the keys.
func NewDocuments(issuer, keySetURL string, keys *Keys) (*Documents, error) {
	c := configuration{
		Issuer: issuer, KeySet: keySetURL,
		ResponseTypes: []string{"id_token"}, SubjectTypes: []string{"public"},
	}
	for _, alg := range keys.algorithms() {
		c.Algorithms = append(c.Algorithms, string(alg))
	}
	conf, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode discovery document: %w", err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: keys.public})
	if err != nil {
		return nil, fmt.Errorf("encode key set: %w", err)
	}
	return &Documents{configuration: conf, keySet: set}, nil
}

// Configuration serves the discovery document.
func (d *Documents) Configuration(w http.ResponseWriter, _ *http.Request) {
	serve(w, "application/json", d.configuration)
}

// KeySet serves the public keys.
func (d *Documents) KeySet(w http.ResponseWriter, _ *http.Request) {
	serve(w, "application/jwk-set+json", d.keySet)
}

func serve(w http.ResponseWriter, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "public, max-age=3600")
	_, _ = w.Write(body) // the client has gone: nobody is left to tell
}
