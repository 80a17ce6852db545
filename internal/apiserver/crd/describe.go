package crd

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Custom is a source of OpenAPI documents: those of the established
// definitions.

// version is one served version of a definition.
type servedVersion struct {
	crd  *apiextensionsv1.CustomResourceDefinition
	name string
}

// established are the served versions by path, in the order of names.
func (c *Custom) established() map[string][]servedVersion {
	crds, _ := c.crds.Lister().List(labels.Everything()) // a cache does not fail
	slices.SortFunc(crds, func(a, b *apiextensionsv1.CustomResourceDefinition) int { return cmp.Compare(a.Name, b.Name) })
	out := map[string][]servedVersion{}
	for _, crd := range crds {
		if !apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established) {
			continue
		}
		for _, v := range crd.Spec.Versions {
			if v.Served {
				path := "apis/" + crd.Spec.Group + "/" + v.Name
				out[path] = append(out[path], servedVersion{crd, v.Name})
			}
		}
	}
	return out
}

func hash(versions []servedVersion) string {
	sum := sha256.New()
	for _, v := range versions {
		fmt.Fprintln(sum, v.crd.UID, v.crd.Generation, v.name)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// Paths are the group versions that have custom resources.
func (c *Custom) Paths() map[string]string {
	out := map[string]string{}
	for path, versions := range c.established() {
		out[path] = hash(versions)
	}
	return out
}

// V3 describes the custom resources of a group version.
func (c *Custom) V3(path string) (*spec3.OpenAPI, http.Handler, error) {
	versions := c.established()[path]
	if len(versions) == 0 {
		return nil, nil, fs.ErrNotExist
	}
	var docs []*spec3.OpenAPI
	for _, v := range versions {
		doc, err := builder.BuildOpenAPIV3(v.crd, v.name, builder.Options{IncludeSelectableFields: true})
		if err != nil {
			return nil, nil, fmt.Errorf("describe %s in %s: %w", v.crd.Name, v.name, err)
		}
		docs = append(docs, doc)
	}
	merged, err := builder.MergeSpecsV3(docs...)
	if err != nil {
		return nil, nil, fmt.Errorf("describe %s: %w", path, err)
	}
	return merged, nil, nil
}

// V2 describes all custom resources, as far as the older format can.
func (c *Custom) V2() ([]*spec.Swagger, string, error) {
	var docs []*spec.Swagger
	var all []servedVersion
	byPath := c.established()
	for _, path := range sortedKeys(byPath) {
		for _, v := range byPath[path] {
			doc, err := builder.BuildOpenAPIV2(v.crd, v.name, builder.Options{V2: true, IncludeSelectableFields: true})
			if err != nil {
				return nil, "", fmt.Errorf("describe %s in %s: %w", v.crd.Name, v.name, err)
			}
			// As in the document that this one joins: what both define, such as
			// Status and Scale, is the same there only without defaults, and
			// would else be given a second name.
			doc.Definitions = handler.PruneDefaults(doc.Definitions)
			docs = append(docs, doc)
			all = append(all, v)
		}
	}
	return docs, hash(all), nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
