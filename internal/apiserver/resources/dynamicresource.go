package resources

import (
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// DynamicResource returns the rows of the group resource.k8s.io.
func DynamicResource() []Resource {
	return []Resource{deviceClasses(), resourceClaims(), resourceClaimTemplates(), resourceSlices(), deviceTaintRules()}
}

func deviceClasses() Resource {
	r := row[resourcev1.DeviceClass, resourcev1.DeviceClassList](resourcev1.SchemeGroupVersion, "DeviceClass", "deviceclasses")
	r.ClusterScoped = true
	r.Previews = previews(resourcev1.GroupName, "v1beta2", "v1beta1")
	r.ReturnsDeleted = true
	r.Columns = []metav1.TableColumnDefinition{nameColumn(), ageColumn()}
	r.Cells = cells(func(c *resourcev1.DeviceClass) []any { return []any{c.Name, since(c.CreationTimestamp)} })
	r.Strategy = deviceClassStrategy()
	return r
}

func resourceClaims() Resource {
	r := row[resourcev1.ResourceClaim, resourcev1.ResourceClaimList](resourcev1.SchemeGroupVersion, "ResourceClaim", "resourceclaims")
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		column("State", "string", "A summary of the current state (allocated, pending, reserved, etc.)."),
		ageColumn(),
	}
	r.Cells = cells(func(c *resourcev1.ResourceClaim) []any {
		return []any{c.Name, claimState(c), since(c.CreationTimestamp)}
	})
	r.Previews = previews(resourcev1.GroupName, "v1beta2", "v1beta1")
	r.ReturnsDeleted = true
	r.Strategy = resourceClaimStrategy()
	r.Status = resourceClaimStatusStrategy()
	return r
}

func claimState(c *resourcev1.ResourceClaim) string {
	var states []string
	if c.DeletionTimestamp != nil {
		states = append(states, "deleted")
	}
	switch {
	case c.Status.Allocation != nil && len(c.Status.ReservedFor) > 0:
		states = append(states, "allocated", "reserved")
	case c.Status.Allocation != nil:
		states = append(states, "allocated")
	case c.DeletionTimestamp == nil:
		states = append(states, "pending")
	}
	return strings.Join(states, ",")
}

func resourceClaimTemplates() Resource {
	r := row[resourcev1.ResourceClaimTemplate, resourcev1.ResourceClaimTemplateList](
		resourcev1.SchemeGroupVersion, "ResourceClaimTemplate", "resourceclaimtemplates")
	r.Previews = previews(resourcev1.GroupName, "v1beta2", "v1beta1")
	r.ReturnsDeleted = true
	r.Columns = []metav1.TableColumnDefinition{nameColumn(), ageColumn()}
	r.Cells = cells(func(t *resourcev1.ResourceClaimTemplate) []any { return []any{t.Name, since(t.CreationTimestamp)} })
	r.Strategy = resourceClaimTemplateStrategy()
	return r
}

func resourceSlices() Resource {
	r := row[resourcev1.ResourceSlice, resourcev1.ResourceSliceList](resourcev1.SchemeGroupVersion, "ResourceSlice", "resourceslices")
	r.ClusterScoped = true
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		docColumn("Node", "string", resourcev1.ResourceSliceSpec{}, "nodeName"),
		docColumn("Driver", "string", resourcev1.ResourceSliceSpec{}, "driver"),
		docColumn("Pool", "string", resourcev1.ResourcePool{}, "name"),
		ageColumn(),
	}
	r.Cells = cells(func(s *resourcev1.ResourceSlice) []any {
		return []any{s.Name, deref(s.Spec.NodeName, ""), s.Spec.Driver, s.Spec.Pool.Name, since(s.CreationTimestamp)}
	})
	r.SelectableFields = selectable(func(s *resourcev1.ResourceSlice) fields.Set {
		return fields.Set{"spec.nodeName": deref(s.Spec.NodeName, ""), "spec.driver": s.Spec.Driver, "spec.pool.name": s.Spec.Pool.Name}
	})
	r.Previews = previews(resourcev1.GroupName, "v1beta2", "v1beta1")
	r.ReturnsDeleted = true
	r.Strategy = resourceSliceStrategy()
	return r
}

func deviceTaintRules() Resource {
	r := row[resourcev1.DeviceTaintRule, resourcev1.DeviceTaintRuleList](resourcev1.SchemeGroupVersion, "DeviceTaintRule", "devicetaintrules")
	r.ClusterScoped = true
	r.Previews = previews(resourcev1.GroupName, "v1beta2", "v1alpha3")
	taint := resourcev1.DeviceTaint{}
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		docColumn("Key", "string", taint, "key"),
		docColumn("Value", "string", taint, "value"),
		docColumn("Effect", "string", taint, "effect"),
		docColumn("TimeAdded", "string", taint, "timeAdded"),
		ageColumn(),
	}
	r.Cells = cells(func(d *resourcev1.DeviceTaintRule) []any {
		taint, added := &d.Spec.Taint, ""
		if taint.TimeAdded != nil {
			added = since(*taint.TimeAdded)
		}
		return []any{d.Name, taint.Key, taint.Value, string(taint.Effect), added, since(d.CreationTimestamp)}
	})
	r.Strategy = deviceTaintRuleStrategy()
	r.Status = deviceTaintRuleStatusStrategy()
	return r
}
