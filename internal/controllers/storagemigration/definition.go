package storagemigration

import (
	"context"
	"fmt"
	"time"

	svmv1 "k8s.io/api/storagemigration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// runner is who writes the status of definitions.
const runner = "migration-runner-controller"

// beginDefinition tells in the definition of a custom kind that it is being migrated.
func (c *Controller) beginDefinition(ctx context.Context, m *svmv1.StorageVersionMigration) error {
	crd, err := c.definition(ctx, m)
	if err != nil || crd == nil {
		return err
	}
	return c.writeDefinition(ctx, crd, apiextensionsv1.ConditionTrue, "MigrationRunning", fmt.Sprintf("Migration %s is running", m.Name), "")
}

// finishDefinition tells that it is over, and which version alone is stored now.
func (c *Controller) finishDefinition(ctx context.Context, m *svmv1.StorageVersionMigration) error {
	crd, err := c.definition(ctx, m)
	if err != nil || crd == nil {
		return err
	}
	reason, message, stored := verdict(crd, is(m, svmv1.MigrationSucceeded))
	return c.writeDefinition(ctx, crd, apiextensionsv1.ConditionFalse, reason, message, stored)
}

// verdict is what is told of a definition after a migration, and the one version that
// objects are stored in, "" if that is not known.
func verdict(crd *apiextensionsv1.CustomResourceDefinition, success bool) (reason, message, stored string) {
	for i := range crd.Status.Conditions {
		if o := &crd.Status.Conditions[i]; o.Type == apiextensionsv1.StorageMigrating && o.ObservedGeneration == crd.Generation {
			stored = storage(crd)
		}
	}
	switch {
	case !success:
		return "MigrationFailed", "The migration has failed", stored
	case stored == "":
		return "MigrationSucceeded", "The migration has succeeded but the stored versions have not been updated due to a generation mismatch", ""
	}
	return "MigrationSucceeded", "The migration has succeeded and the stored versions have been updated", stored
}

func storage(crd *apiextensionsv1.CustomResourceDefinition) string {
	for i := range crd.Spec.Versions {
		if crd.Spec.Versions[i].Storage {
			return crd.Spec.Versions[i].Name
		}
	}
	return ""
}

func (c *Controller) definition(ctx context.Context, m *svmv1.StorageVersionMigration) (*apiextensionsv1.CustomResourceDefinition, error) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	name := m.Spec.Resource.Resource + "." + m.Spec.Resource.Group
	if err := c.Client.Get(ctx, client.ObjectKey{Name: name}, u); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, crd); err != nil {
		return nil, fmt.Errorf("read definition %s: %w", name, err)
	}
	return crd, nil
}

// writeDefinition writes the condition. The resource version keeps it from a
// definition that has changed since it was read.
func (c *Controller) writeDefinition(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition, status apiextensionsv1.ConditionStatus, reason, message, stored string) error {
	fields := map[string]any{"conditions": []any{map[string]any{
		"type": string(apiextensionsv1.StorageMigrating), "status": string(status), "reason": reason, "message": message,
		"lastTransitionTime": time.Now().UTC().Format(time.RFC3339), "observedGeneration": crd.Generation,
	}}}
	if stored != "" {
		fields["storedVersions"] = []any{stored}
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": fields}}
	u.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	u.SetName(crd.Name)
	u.SetResourceVersion(crd.ResourceVersion)
	err := c.Client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.ForceOwnership, client.FieldOwner(runner))
	if err != nil {
		return fmt.Errorf("apply status of definition %s: %w", crd.Name, err)
	}
	return nil
}
