package serviceaccount

import (
	"encoding/json"
	"net/http"

	"github.com/go-jose/go-jose/v4"
)

// Paths of the documents by which others find the keys.
const (
	ConfigurationPath = "/.well-known/openid-configuration"
	KeySetPath        = "/openid/v1/jwks"
)

// Documents serves OpenID provider discovery: who issues tokens, and by which
// keys they are proved. They are made anew for each reader, as keys change.
type Documents struct {
	issuer, keySetURL string
	keys              *Keys
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
func NewDocuments(issuer, keySetURL string, keys *Keys) *Documents {
	return &Documents{issuer: issuer, keySetURL: keySetURL, keys: keys}
}

// Configuration serves the discovery document.
func (d *Documents) Configuration(w http.ResponseWriter, _ *http.Request) {
	c := configuration{
		Issuer: d.issuer, KeySet: d.keySetURL,
		ResponseTypes: []string{"id_token"}, SubjectTypes: []string{"public"},
	}
	for _, alg := range d.keys.algorithms() {
		c.Algorithms = append(c.Algorithms, string(alg))
	}
	serve(w, "application/json", c)
}

// KeySet serves the public keys.
func (d *Documents) KeySet(w http.ResponseWriter, _ *http.Request) {
	serve(w, "application/jwk-set+json", jose.JSONWebKeySet{Keys: d.keys.public()})
}

func serve(w http.ResponseWriter, contentType string, document any) {
	body, err := json.Marshal(document)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "public, max-age=3600")
	_, _ = w.Write(body) // the client has gone: nobody is left to tell
}
