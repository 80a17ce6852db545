package apps

import (
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/pod"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
	"github.com/sinawi/sinawi/internal/apiserver/validation/volume"
)

// StatefulSet validates a new StatefulSet. Its name becomes part of the names
// of its pods, so it is a label.
func StatefulSet(s *appsv1.StatefulSet) field.ErrorList {
	return append(rule.Namespaced(&s.ObjectMeta, apivalidation.NameIsDNSLabel), statefulSetSpec(&s.Spec, statefulRules{template: true, creation: true}, field.NewPath("spec"))...)
}

// StatefulSetUpdate validates a changed StatefulSet.
func StatefulSetUpdate(s, old *appsv1.StatefulSet) field.ErrorList {
	path := field.NewPath("spec")
	// What was let through once must not make the set unchangeable.
	templates := len(statefulSetSpec(&old.Spec, statefulRules{template: true}, nil)) == 0
	return rule.All(
		rule.MetaUpdate(&s.ObjectMeta, &old.ObjectMeta),
		statefulSetSpec(&s.Spec, statefulRules{template: templates}, path),
		rule.Immutable(s.Spec.Selector, old.Spec.Selector, path.Child("selector")),
		rule.Immutable(s.Spec.VolumeClaimTemplates, old.Spec.VolumeClaimTemplates, path.Child("volumeClaimTemplates")),
		rule.Immutable(s.Spec.ServiceName, old.Spec.ServiceName, path.Child("serviceName")),
		rule.Immutable(s.Spec.PodManagementPolicy, old.Spec.PodManagementPolicy, path.Child("podManagementPolicy")),
	)
}

// StatefulSetStatusUpdate validates a changed status.
func StatefulSetStatusUpdate(s, old *appsv1.StatefulSet) field.ErrorList {
	path, st := field.NewPath("status"), &s.Status
	return rule.All(
		rule.NonNegative(st.Replicas, path.Child("replicas")),
		rule.NonNegative(st.ReadyReplicas, path.Child("readyReplicas")),
		rule.NonNegative(st.CurrentReplicas, path.Child("currentReplicas")),
		rule.NonNegative(st.UpdatedReplicas, path.Child("updatedReplicas")),
		rule.NonNegative(st.AvailableReplicas, path.Child("availableReplicas")),
		rule.NonNegative(st.ObservedGeneration, path.Child("observedGeneration")),
		rule.OptionalNonNegative(st.CollisionCount, path.Child("collisionCount")),
		rule.NotAbove(st.ReadyReplicas, st.Replicas, "status.replicas", path.Child("readyReplicas")),
		rule.NotAbove(st.CurrentReplicas, st.Replicas, "status.replicas", path.Child("currentReplicas")),
		rule.NotAbove(st.UpdatedReplicas, st.Replicas, "status.replicas", path.Child("updatedReplicas")),
		rule.NotAbove(st.AvailableReplicas, st.Replicas, "status.replicas", path.Child("availableReplicas")),
		rule.NotAbove(st.AvailableReplicas, st.ReadyReplicas, "status.readyReplicas", path.Child("availableReplicas")),
		rule.MetaUpdate(&s.ObjectMeta, &old.ObjectMeta),
		rule.NotDecremented(st.CollisionCount, old.Status.CollisionCount, path.Child("collisionCount")),
	)
}

// statefulRules says which rules apply besides those that always do.
type statefulRules struct {
	template bool // those on the pods' template
	creation bool // those on what never changes afterwards
}

func statefulSetSpec(spec *appsv1.StatefulSetSpec, rules statefulRules, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch spec.PodManagementPolicy {
	case "":
		errs = append(errs, field.Required(path.Child("podManagementPolicy"), ""))
	case appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement:
	default:
		errs = append(errs, field.Invalid(path.Child("podManagementPolicy"), spec.PodManagementPolicy,
			fmt.Sprintf("must be '%s' or '%s'", appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement)))
	}
	errs = append(errs, rule.All(
		statefulSetStrategy(&spec.UpdateStrategy, path.Child("updateStrategy")),
		claimRetention(spec.PersistentVolumeClaimRetentionPolicy, path.Child("persistentVolumeClaimRetentionPolicy")),
		rule.OptionalNonNegative(spec.Replicas, path.Child("replicas")),
		rule.NonNegative(spec.MinReadySeconds, path.Child("minReadySeconds")),
	)...)
	if spec.Ordinals != nil {
		errs = append(errs, rule.NonNegative(spec.Ordinals.Start, path.Child("ordinals.start"))...)
	}
	if rules.creation {
		for i := range spec.VolumeClaimTemplates {
			errs = append(errs, volume.ClaimSpec(&spec.VolumeClaimTemplates[i].Spec, nil, path.Child("volumeClaimTemplates").Index(i).Child("spec"))...)
		}
		if spec.ServiceName != "" {
			errs = append(errs, rule.Invalid(path.Child("serviceName"), spec.ServiceName, validation.IsDNS1123Label(spec.ServiceName))...)
		}
	}
	errs = append(errs, rule.RequiredSelector(spec.Selector, "statefulset", path.Child("selector"))...)
	template := path.Child("template")
	if _, err := metav1.LabelSelectorAsSelector(spec.Selector); err != nil {
		errs = append(errs, field.Invalid(path.Child("selector"), spec.Selector, ""))
	} else {
		errs = append(errs, statefulTemplate(spec, rules, template)...)
	}
	return append(errs, runsForever(&spec.Template, "StatefulSet", template)...)
}

// statefulTemplate checks the template as the pods of the set will have it:
// named by the set, and with a volume for each of its claims.
func statefulTemplate(spec *appsv1.StatefulSetSpec, rules statefulRules, path *field.Path) field.ErrorList {
	t := spec.Template.DeepCopy()
	t.Spec.Hostname, t.Spec.Subdomain = "", ""
	var volumes []corev1.Volume
	claimed := map[string]bool{}
	for i := range spec.VolumeClaimTemplates {
		name := spec.VolumeClaimTemplates[i].Name
		if claimed[name] {
			continue
		}
		claimed[name] = true
		v := corev1.Volume{Name: name}
		v.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}
		volumes = append(volumes, v)
	}
	for i := range t.Spec.Volumes {
		if !claimed[t.Spec.Volumes[i].Name] {
			volumes = append(volumes, t.Spec.Volumes[i])
		}
	}
	t.Spec.Volumes = volumes
	var errs field.ErrorList
	if rules.template {
		errs = pod.Template(t, path)
	}
	return rule.All(
		rule.SelectsTemplate(spec.Selector, &spec.Template, path), errs,
		metav1validation.ValidateLabels(t.Labels, path.Child("labels")),
		apivalidation.ValidateAnnotations(t.Annotations, path.Child("annotations")),
		pod.Annotations(t, path.Child("annotations")),
	)
}

func statefulSetStrategy(s *appsv1.StatefulSetUpdateStrategy, path *field.Path) field.ErrorList {
	rolling := path.Child("rollingUpdate")
	switch s.Type {
	case "":
		return field.ErrorList{field.Required(path, "")}
	case appsv1.OnDeleteStatefulSetStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Invalid(rolling, s.RollingUpdate,
				fmt.Sprintf("only allowed for updateStrategy '%s'", appsv1.RollingUpdateStatefulSetStrategyType))}
		}
		return nil
	case appsv1.RollingUpdateStatefulSetStrategyType:
		if s.RollingUpdate == nil {
			return nil
		}
		return rollingStatefulSet(s.RollingUpdate, rolling)
	}
	return field.ErrorList{field.Invalid(path, *s, fmt.Sprintf("must be '%s' or '%s'",
		appsv1.RollingUpdateStatefulSetStrategyType, appsv1.OnDeleteStatefulSetStrategyType))}
}

func rollingStatefulSet(r *appsv1.RollingUpdateStatefulSetStrategy, path *field.Path) field.ErrorList {
	errs := rule.OptionalNonNegative(r.Partition, path.Child("partition"))
	if m := r.MaxUnavailable; m != nil {
		p := path.Child("maxUnavailable")
		errs = append(errs, rule.IntOrPercent(*m, p)...)
		if rule.Amount(*m) == 0 {
			errs = append(errs, field.Invalid(p, *m, "cannot be 0"))
		}
		errs = append(errs, rule.AtMostAll(*m, p)...)
	}
	return errs
}

func claimRetention(p *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	one := func(v appsv1.PersistentVolumeClaimRetentionPolicyType, path *field.Path) field.ErrorList {
		valid := []appsv1.PersistentVolumeClaimRetentionPolicyType{appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType}
		if v == valid[0] || v == valid[1] {
			return nil
		}
		return field.ErrorList{field.NotSupported(path, v, valid)}
	}
	return append(one(p.WhenDeleted, path.Child("whenDeleted")), one(p.WhenScaled, path.Child("whenScaled"))...)
}

// ControllerRevision validates a new ControllerRevision.
func ControllerRevision(r *appsv1.ControllerRevision) field.ErrorList {
	return rule.All(
		rule.Namespaced(&r.ObjectMeta, rule.Subdomain),
		rule.NonNegative(r.Revision, field.NewPath("revision")),
		revisionData(r.Data.Raw, field.NewPath("data")),
	)
}

// revisionData checks that a revision keeps an object.
func revisionData(raw []byte, path *field.Path) field.ErrorList {
	if len(raw) == 0 {
		return field.ErrorList{field.Required(path, "data is mandatory")}
	}
	var data any
	if err := json.Unmarshal(raw, &data); err != nil {
		return field.ErrorList{field.Invalid(path, "<value omitted>", fmt.Sprintf("error parsing data: %v", err))}
	}
	switch data.(type) {
	case map[string]any:
		return nil
	case nil:
		return field.ErrorList{field.Required(path, "data is mandatory")}
	}
	return field.ErrorList{field.Required(path, "data must be a valid JSON object")}
}

// ControllerRevisionUpdate validates a changed ControllerRevision: its data
// never changes.
func ControllerRevisionUpdate(r, old *appsv1.ControllerRevision) field.ErrorList {
	return rule.All(
		rule.MetaUpdate(&r.ObjectMeta, &old.ObjectMeta),
		rule.NonNegative(r.Revision, field.NewPath("revision")),
		rule.Immutable(r.Data, old.Data, field.NewPath("data")),
	)
}
