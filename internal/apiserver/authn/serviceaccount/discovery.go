package serviceaccount

import (
	"encoding/json"
	"net/http"

	restful "github.com/emicklei/go-restful/v3"
	"github.com/go-jose/go-jose/v4"
)

// Paths of the documents by which others find the keys.
const (
	ConfigurationPath = "/.well-known/openid-configuration"
	KeySetPath        = "/openid/v1/jwks"

	keySetType = "application/jwk-set+json"
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

// Services are the routes of the documents.
func (d *Documents) Services() []*restful.WebService {
	service := func(path, contentType, what, operation string, serve http.HandlerFunc) *restful.WebService {
		ws := new(restful.WebService).Path(path).Produces(contentType)
		return ws.Route(ws.GET("").Doc("get service account issuer OpenID "+what).Operation(operation).
			To(func(in *restful.Request, out *restful.Response) { serve(out, in.Request) }).
			Returns(http.StatusOK, "OK", ""))
	}
	return []*restful.WebService{
		service(ConfigurationPath, restful.MIME_JSON, "configuration, also known as the 'OIDC discovery doc'",
			"getServiceAccountIssuerOpenIDConfiguration", d.Configuration),
		service(KeySetPath, keySetType, "JSON Web Key Set (contains public token verification keys)",
			"getServiceAccountIssuerOpenIDKeyset", d.KeySet),
	}
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
	serve(w, restful.MIME_JSON, c)
}

// KeySet serves the public keys.
func (d *Documents) KeySet(w http.ResponseWriter, _ *http.Request) {
	serve(w, keySetType, jose.JSONWebKeySet{Keys: d.keys.public()})
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
