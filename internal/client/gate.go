package client

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/endpoints/handlers/fieldmanager"
	"k8s.io/apiserver/pkg/warning"
)

// gate is admission as the server's handlers wrap it: what it makes of managed
// fields is taken only if it is valid. Theirs decodes them after every admission,
// a twentieth of all that a rollout allocates; this one only where admission has
// touched them.
type gate struct{ plugins }

// plugins is admission with audit annotations.
type plugins interface {
	admission.MutationInterface
	admission.ValidationInterface
}

// Admit lets the plugins change the object, all but to invalid managed fields.
func (g gate) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	m, err := meta.Accessor(a.GetObject())
	if err != nil {
		return g.plugins.Admit(ctx, a, o) // an object without metadata
	}
	before := slices.Clone(m.GetManagedFields())
	if err := g.plugins.Admit(ctx, a, o); err != nil {
		return err
	}
	after := m.GetManagedFields()
	if slices.EqualFunc(before, after, sameEntry) {
		return nil
	}
	if err := managedfields.ValidateManagedFields(after); err != nil {
		m.SetManagedFields(before)
		warning.AddWarning(ctx, "", fmt.Sprintf(fieldmanager.InvalidManagedFieldsAfterMutatingAdmissionWarningFormat, err.Error()))
	}
	return nil
}

// sameEntry says that an entry was not touched. Nobody changes the bytes of a
// FieldsV1 in place.
func sameEntry(a, b metav1.ManagedFieldsEntry) bool { return a == b }
