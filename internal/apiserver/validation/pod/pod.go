// Package pod validates pods and the templates that they are made from: what a
// new one may say, what of it may change later, and by which subresource. It
// takes defaulted objects and returns field errors in the words that
// Kubernetes uses; it is pure, and does not ask whether what a pod refers to
// exists.
package pod

import (
	"encoding/json"
	"math"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/placement"
	"github.com/sinawi/sinawi/internal/apiserver/validation/volume"
)

const deletionCost = "controller.kubernetes.io/pod-deletion-cost"

// Create checks a new pod.
func Create(p *corev1.Pod) field.ErrorList {
	l := check.List{Errors: whole(p)}
	path := field.NewPath("spec")
	if len(p.Spec.EphemeralContainers) > 0 {
		l.Forbidden(path.Child("ephemeralContainers"), "cannot be set on create")
	}
	if p.Spec.NodeName != "" && len(p.Spec.SchedulingGates) > 0 {
		l.Forbidden(path.Child("nodeName"), "cannot be set until all schedulingGates have been cleared")
	}
	profilesMatch(&l, p.Annotations, &p.Spec, path)
	return l.Errors
}

// whole checks what holds for a pod at any time.
func whole(p *corev1.Pod) field.ErrorList {
	l := check.List{Errors: check.ObjectMeta(&p.ObjectMeta, true, apivalidation.NameIsDNSSubdomain)}
	annotations(&l, p.Annotations, &p.Spec, field.NewPath("metadata", "annotations"))
	path := field.NewPath("spec")
	spec(&l, &p.Spec, volume.Pod{Name: p.Name, Real: true}, path)
	if p.Spec.ServiceAccountName == "" {
		tokensNeedAccount(&l, p.Spec.Volumes, path.Child("volumes"))
	}
	for i := range p.Spec.Containers {
		trimmedImage(&l, p.Spec.Containers[i].Image, path.Child("containers").Index(i))
	}
	for i := range p.Spec.InitContainers {
		trimmedImage(&l, p.Spec.InitContainers[i].Image, path.Child("initContainers").Index(i))
	}
	return l.Errors
}

func annotations(l *check.List, a map[string]string, spec *corev1.PodSpec, path *field.Path) {
	if value, mirror := a[corev1.MirrorPodAnnotationKey]; mirror && spec.NodeName == "" {
		l.Invalid(path.Key(corev1.MirrorPodAnnotationKey), value, "must set spec.nodeName if mirror pod annotation is set")
	}
	if cost, ok := a[deletionCost]; ok {
		// A plus sign or a leading zero would compare unequal to what was meant.
		if n, err := strconv.ParseInt(cost, 10, 32); err != nil || strconv.FormatInt(n, 10) != cost {
			l.Invalid(path.Key(deletionCost), cost, "must be a 32bit integer")
		}
	}
	if text := a[corev1.TolerationsAnnotationKey]; text != "" {
		var list []corev1.Toleration
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			l.Invalid(path, corev1.TolerationsAnnotationKey, err.Error())
		}
		l.Add(placement.Tolerations(list, path.Child(corev1.TolerationsAnnotationKey))...)
	}
	profileAnnotations(l, a, spec, path)
}

func tokensNeedAccount(l *check.List, volumes []corev1.Volume, path *field.Path) {
	for i := range volumes {
		if volumes[i].Projected == nil {
			continue
		}
		for j, source := range volumes[i].Projected.Sources {
			if source.ServiceAccountToken != nil {
				l.Forbidden(path.Index(i).Child("projected", "sources").Index(j).Child("serviceAccountToken"),
					"must not be specified when serviceAccountName is not set")
			}
		}
	}
}

// Annotations checks the annotations of a template alone.
func Annotations(t *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	var l check.List
	annotations(&l, t.Annotations, &t.Spec, path)
	return l.Errors
}

// Template checks the template that a workload makes pods from.
func Template(t *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	l := check.List{Errors: check.Labels(t.Labels, path.Child("labels"))}
	l.Add(apivalidation.ValidateAnnotations(t.Annotations, path.Child("annotations"))...)
	annotations(&l, t.Annotations, &t.Spec, path.Child("annotations"))
	spec(&l, &t.Spec, volume.Pod{}, path.Child("spec"))
	profilesMatch(&l, t.Annotations, &t.Spec, path.Child("spec"))
	if len(t.Spec.EphemeralContainers) > 0 {
		l.Forbidden(path.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template")
	}
	return l.Errors
}

// spec checks a pod spec wherever it stands.
func spec(l *check.List, s *corev1.PodSpec, where volume.Pod, path *field.Path) {
	if s.TerminationGracePeriodSeconds == nil {
		l.Required(path.Child("terminationGracePeriodSeconds"), "")
	}
	volumes, errs := volume.Volumes(s.Volumes, where, path.Child("volumes"))
	l.Add(errs...)
	c := containers{List: l, spec: s, volumes: volumes, claims: claims(l, s.ResourceClaims, path.Child("resourceClaims")), where: where}
	c.regular(path.Child("containers"))
	c.initial(path.Child("initContainers"))
	c.ephemeral(path.Child("ephemeralContainers"))
	podResources(l, s, c.claims, path.Child("resources"))
	hostPorts(l, s, where.Real, path.Child("containers"))
	check.RequiredOneOf(l, path.Child("restartPolicy"), s.RestartPolicy, corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	check.RequiredOneOf(l, path.Child("dnsPolicy"), s.DNSPolicy,
		corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)
	l.Add(check.Labels(s.NodeSelector, path.Child("nodeSelector"))...)
	securityContext(l, s, path.Child("securityContext"))
	if s.HostPID && check.Deref(s.ShareProcessNamespace, false) {
		l.Invalid(path.Child("shareProcessNamespace"), true, "ShareProcessNamespace and HostPID cannot both be enabled")
	}
	l.Add(placement.Affinity(s.Affinity, path.Child("affinity"))...)
	dnsConfig(l, s, path.Child("dnsConfig"))
	gates(l, s, path)
	l.Add(placement.Spread(s.TopologySpreadConstraints, path.Child("topologySpreadConstraints"))...)
	hostUsers(l, s, path)
	names(l, s, path)
	if d := s.ActiveDeadlineSeconds; d != nil {
		l.InRange(path.Child("activeDeadlineSeconds"), *d, 1, math.MaxInt32)
	}
	l.Add(placement.Tolerations(s.Tolerations, path.Child("tolerations"))...)
	hostAliases(l, s.HostAliases, path.Child("hostAliases"))
	if p := s.PreemptionPolicy; p != nil {
		check.RequiredOneOf(l, path.Child("preemptionPolicy"), *p, corev1.PreemptLowerPriority, corev1.PreemptNever)
	}
	if s.Overhead != nil {
		resources(l, &corev1.ResourceRequirements{Limits: s.Overhead}, nil, path.Child("overhead"), l.ContainerResourceName)
	}
	hostProcess(l, s, path)
	operatingSystem(l, s, path)
	fileVolumes(l, s, path)
}

// names checks the references of a pod spec that are names.
func names(l *check.List, s *corev1.PodSpec, path *field.Path) {
	subdomain := func(name, value string) {
		if value != "" {
			l.Subdomain(path.Child(name), value)
		}
	}
	subdomain("serviceAccountName", s.ServiceAccountName)
	subdomain("nodeName", s.NodeName)
	subdomain("priorityClassName", s.PriorityClassName)
	if r := s.RuntimeClassName; r != nil {
		l.Subdomain(path.Child("runtimeClassName"), *r)
	}
	if s.Hostname != "" {
		l.Label(path.Child("hostname"), s.Hostname)
	}
	if s.Subdomain != "" {
		l.Label(path.Child("subdomain"), s.Subdomain)
	}
	if o := s.HostnameOverride; o != nil {
		hostnameOverride(l, s, *o, path)
	}
}

// hostnameOverride checks a host name that takes the place of all else.
func hostnameOverride(l *check.List, s *corev1.PodSpec, name string, path *field.Path) {
	at := path.Child("hostnameOverride")
	if len(name) > 64 {
		l.Add(field.TooLong(at, "", 64))
	}
	l.Subdomain(at, name)
	if s.HostNetwork {
		l.Forbidden(at, "may not be specified when hostNetwork is true")
	}
	if s.SetHostnameAsFQDN != nil && *s.SetHostnameAsFQDN {
		l.Forbidden(at, "may not be specified when setHostnameAsFQDN is true")
	}
}

func gates(l *check.List, s *corev1.PodSpec, path *field.Path) {
	for i, g := range s.ReadinessGates {
		l.QualifiedName(path.Child("readinessGates").Index(i).Child("conditionType"), string(g.ConditionType))
	}
	seen := sets.New[string]()
	for i, g := range s.SchedulingGates {
		at := path.Child("schedulingGates").Index(i)
		l.QualifiedName(at, g.Name)
		if seen.Has(g.Name) {
			l.Duplicate(at, g.Name)
		}
		seen.Insert(g.Name)
	}
	if g := s.SchedulingGroup; g != nil {
		at := path.Child("schedulingGroup")
		if g.PodGroupName == nil {
			l.Invalid(at.Child("podGroupName"), nil, "must specify one of: `podGroupName`")
		} else {
			l.Subdomain(at.Child("podGroupName"), *g.PodGroupName)
		}
	}
}

// claims checks the devices that a pod claims and returns their names.
func claims(l *check.List, list []corev1.PodResourceClaim, path *field.Path) sets.Set[string] {
	names := sets.New[string]()
	for i := range list {
		c, at := &list[i], path.Index(i)
		switch {
		case c.Name == "":
			l.Required(at.Child("name"), "")
		case names.Has(c.Name):
			l.Duplicate(at.Child("name"), c.Name)
		default:
			l.Label(at.Child("name"), c.Name)
			names.Insert(c.Name)
		}
		if c.ResourceClaimName != nil && c.ResourceClaimTemplateName != nil {
			l.Invalid(at, *c, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified")
		}
		if c.ResourceClaimName == nil && c.ResourceClaimTemplateName == nil {
			l.Invalid(at, *c, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
		}
		if n := c.ResourceClaimName; n != nil {
			l.Subdomain(at.Child("resourceClaimName"), *n)
		}
		if n := c.ResourceClaimTemplateName; n != nil {
			l.Subdomain(at.Child("resourceClaimTemplateName"), *n)
		}
	}
	return names
}
