// Package resources is the table of what the API server serves: one row per
// resource, one file per API group. A row holds data (names, scope, columns,
// field selectors) and pure functions (what to normalise, what to refuse); the
// machinery that turns a row into REST storage lives in package apiserver and
// knows no kind by name.
//
// The versioned k8s.io/api types are the hub: a row's functions receive them
// directly, already defaulted.
package resources

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Resource is one row of the table: all that is needed to serve one kind.
type Resource struct {
	GroupVersion schema.GroupVersion // hub and storage version
	Kind         string              // "Pod"
	Plural       string              // "pods"
	Singular     string              // "pod"
	ShortNames   []string            // "po"
	Categories   []string            // "all"

	ClusterScoped bool
	New           func() runtime.Object
	NewList       func() runtime.Object

	// StoragePrefix is the key below /registry/, the same as upstream's so
	// that its data can be read: "pods", "services/specs".
	StoragePrefix string

	// ServedAs lists further versions of the same kind, converted by
	// functions registered on the scheme (autoscaling/v1 for v2's rows).
	ServedAs []schema.GroupVersion

	// Previews are further versions that are served only when they are
	// switched on, as a row is whose own version is a beta; see Enabled.
	Previews []schema.GroupVersion

	// Default serves the row's own version without its being switched on,
	// though it is a beta.
	Default bool

	Strategy Strategy
	// Status is what the status subresource does; nil means there is none.
	Status *Strategy
	// Scale maps the scale subresource onto the kind; nil means there is none.
	Scale *Scale

	// Columns and Cells are what kubectl get shows, identical to upstream's.
	// Cells returns one value per column. nil means name and age.
	Columns []metav1.TableColumnDefinition
	Cells   func(obj runtime.Object) []any

	// SelectableFields returns the fields that a field selector may name,
	// without metadata.name and metadata.namespace, which every kind has.
	SelectableFields func(obj runtime.Object) fields.Set

	// UnsaidFields are the fields that SelectableFields leaves out of objects which
	// have this value there. A selector that asks for the value asks for none.
	UnsaidFields map[string]string

	// IndexedField is the selectable field by which watchers most often
	// select one value (spec.nodeName of pods); the watch cache keeps an index.
	// IndexedValue reads it, at every change of every object.
	IndexedField string
	IndexedValue func(obj runtime.Object) string

	// ReturnsDeleted makes a deletion answer with the object instead of a status.
	ReturnsDeleted bool

	// NamesUnchecked is for kinds whose object name is no DNS label or
	// subdomain by rule (RBAC): path segment rules alone apply.
	NamesUnchecked bool

	// TTLSeconds is how long an object lives after its last write (events); 0 is for ever.
	TTLSeconds uint64
}

// Strategy holds the rules of a write. Every function is pure and may be nil,
// which means that there is nothing to do. Object metadata that all kinds share
// (uid, creation time, generation when AutoGeneration is set, managed fields)
// is the machinery's work.
type Strategy struct {
	// PrepareForCreate and PrepareForUpdate normalise obj before validation:
	// drop what this endpoint may not write (status on the main resource,
	// spec on the status subresource), fill what only the server decides.
	PrepareForCreate func(ctx context.Context, obj runtime.Object)
	PrepareForUpdate func(ctx context.Context, obj, old runtime.Object)
	// Again says that PrepareForCreate changes obj as much twice as once, so that a
	// creation can be tried again without a copy of obj. nil: it does not.
	Again func(obj runtime.Object) bool

	// Validate and ValidateUpdate return upstream's field paths and wording.
	// They include the rules on object metadata.
	Validate       func(ctx context.Context, obj runtime.Object) field.ErrorList
	ValidateUpdate func(ctx context.Context, obj, old runtime.Object) field.ErrorList

	Warnings       func(ctx context.Context, obj runtime.Object) []string
	UpdateWarnings func(ctx context.Context, obj, old runtime.Object) []string
	Canonicalize   func(obj runtime.Object)

	AllowCreateOnUpdate      bool // PUT of an absent object creates it
	AllowUnconditionalUpdate bool // PUT without resourceVersion is taken

	// AutoGeneration lets the machinery set metadata.generation to 1 on create
	// and raise it by one when anything but metadata and status changed.
	AutoGeneration bool

	// ResetFields are the field paths that this endpoint does not own, for
	// server-side apply: {"status"} on the main resource, {"spec"} on status.
	ResetFields [][]string

	// GracefulDelete decides whether obj is deleted gracefully and fills
	// options.GracePeriodSeconds (pods). nil: deletion is immediate.
	GracefulDelete func(ctx context.Context, obj runtime.Object, options *metav1.DeleteOptions) bool

	// OrphanDependents makes orphaning the default deletion policy.
	OrphanDependents bool
	// OrphanWarning tells who deletes by that default what stays behind.
	OrphanWarning string
}

// Scale says where a kind keeps the three values of the scale subresource.
type Scale struct {
	Replicas    func(obj runtime.Object) int32
	SetReplicas func(obj runtime.Object, n int32)
	Status      func(obj runtime.Object) int32
	Selector    func(obj runtime.Object) string // serialised label selector
}
