// Package definitions stands in for the OpenAPI definitions of all served
// types. The real ones are some megabytes of generated code, made in a
// temporary place by tools/openapi and laid over this file for the one
// compilation that needs them.
package definitions

import "k8s.io/kube-openapi/pkg/common"

// GetOpenAPIDefinitions returns no definitions.
func GetOpenAPIDefinitions(common.ReferenceCallback) map[string]common.OpenAPIDefinition { return nil }
