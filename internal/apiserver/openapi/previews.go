package openapi

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// previews are the embedded documents of versions that are served only where
// they are switched on: paths to hashes. A version of which some resources stay
// switched off is described as a whole.
type previews map[string]string

// Previews describes those versions that are served and that a server with no
// configuration does not serve.
func Previews(served []schema.GroupVersion) (Source, error) {
	p, err := readIndex("previews.json")
	if err != nil {
		return nil, err
	}
	on := map[string]bool{}
	for _, gv := range served {
		on["apis/"+gv.Group], on["apis/"+gv.String()] = true, true
	}
	maps.DeleteFunc(p, func(path, _ string) bool { return !on[path] })
	return previews(p), nil
}

// Paths are the versions with their hashes.
func (p previews) Paths() map[string]string { return p }

// V3 reads the document of one version.
func (p previews) V3(path string) (*spec3.OpenAPI, http.Handler, error) {
	doc := &spec3.OpenAPI{}
	return doc, nil, readPreview("v3", path, doc)
}

// V2 reads what all versions add.
func (p previews) V2() (docs []*spec.Swagger, hash string, err error) {
	sum := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(p)) {
		doc := &spec.Swagger{}
		if err := readPreview("v2", path, doc); err != nil {
			return nil, "", err
		}
		docs = append(docs, doc)
		sum.Write([]byte(p[path]))
	}
	return docs, hex.EncodeToString(sum.Sum(nil)[:16]), nil
}

func readPreview(kind, path string, into any) error {
	data, err := embedded.ReadFile("embedded/preview." + kind + "." + strings.ReplaceAll(path, "/", "~") + ".json.gz")
	if err == nil {
		data, err = unpack(data)
	}
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return fmt.Errorf("OpenAPI %s document of %s: %w", kind, path, err)
	}
	return nil
}
