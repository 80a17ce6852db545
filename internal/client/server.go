package client

import (
	"context"
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/sinawi/sinawi/internal/store/feed"
)

// Server is an API server in this process.
type Server interface {
	// Endpoint returns what serves a kind ("" as subresource) or a subresource
	// of it; nil when the server keeps no such kind as a Go type.
	Endpoint(kind schema.GroupVersionKind, subresource string) (*Endpoint, error)
}

// Auditor records requests.
type Auditor interface {
	// Begin records the request of ctx, which has its user and request info. It
	// returns the context of the work, and what records the end: the object that
	// is answered or the error.
	Begin(ctx context.Context, r Recorded) (context.Context, func(runtime.Object, error), error)
}

// Recorded is what an audit record tells that a context does not.
type Recorded struct {
	Agent    string // the program that asks
	Resource schema.GroupVersionResource
	Version  schema.GroupVersion // of what is sent and answered
	Sent     runtime.Object      // or nil
	Patch    []byte              // or nil
}

// Endpoint is one resource or subresource as its handlers see it.
type Endpoint struct {
	Storage     rest.Storage
	Resource    schema.GroupVersionResource
	Subresource string
	// Kind is what is read and written: for a subresource maybe another kind
	// than the resource's.
	Kind       schema.GroupVersionKind
	Namespaced bool
	// Scheme has defaults and conversions to the hub version.
	Scheme *runtime.Scheme
	Hub    schema.GroupVersion
	Fields *managedfields.FieldManager
	// Admission may be nil; Objects is what its plugins ask about types.
	Admission admission.Interface
	Objects   admission.ObjectInterfaces
	// Audit is nil where nothing is recorded.
	Audit Auditor
	// Changes is the resource's feed; nil when it has none.
	Changes *feed.Log

	typeOnce   sync.Once
	storedType reflect.Type // set once by typeOnce
}
