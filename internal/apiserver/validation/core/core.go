// Package core validates the kinds of the core group beside pods and volumes,
// which have packages of their own. It takes defaulted objects and returns
// field errors in the words that Kubernetes uses; it is pure.
package core

import (
	"encoding/json"
	"fmt"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/pod"
)

// Namespace checks a new namespace.
func Namespace(n *corev1.Namespace) field.ErrorList {
	l := check.List{Errors: check.ObjectMeta(&n.ObjectMeta, false, apivalidation.ValidateNamespaceName)}
	for _, f := range n.Spec.Finalizers {
		finalizer(&l, string(f), field.NewPath("spec", "finalizers"))
	}
	return l.Errors
}

func finalizer(l *check.List, name string, path *field.Path) {
	l.Add(apivalidation.ValidateFinalizerName(name, path)...)
	l.Finalizer(path, name)
}

// NamespaceUpdate checks a changed namespace.
func NamespaceUpdate(n, old *corev1.Namespace) field.ErrorList {
	return check.ObjectMetaUpdate(&n.ObjectMeta, &old.ObjectMeta)
}

// NamespaceStatusUpdate checks that the phase follows from the deletion.
func NamespaceStatusUpdate(n, old *corev1.Namespace) field.ErrorList {
	l := check.List{Errors: check.ObjectMetaUpdate(&n.ObjectMeta, &old.ObjectMeta)}
	phase := field.NewPath("status", "Phase")
	switch {
	case n.DeletionTimestamp.IsZero() && n.Status.Phase != corev1.NamespaceActive:
		l.Invalid(phase, n.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty")
	case !n.DeletionTimestamp.IsZero() && n.Status.Phase != corev1.NamespaceTerminating:
		l.Invalid(phase, n.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")
	}
	return l.Errors
}

// NamespaceFinalizeUpdate checks who still holds a namespace.
func NamespaceFinalizeUpdate(n, old *corev1.Namespace) field.ErrorList {
	l := check.List{Errors: check.ObjectMetaUpdate(&n.ObjectMeta, &old.ObjectMeta)}
	for i, f := range n.Spec.Finalizers {
		finalizer(&l, string(f), field.NewPath("spec", "finalizers").Index(i))
	}
	return l.Errors
}

// ConfigMap checks a new config map.
func ConfigMap(c *corev1.ConfigMap) field.ErrorList {
	l := check.List{Errors: check.ObjectMeta(&c.ObjectMeta, true, apivalidation.NameIsDNSSubdomain)}
	size := 0
	for _, key := range check.Keys(c.Data) {
		at := field.NewPath("data").Key(key)
		l.Messages(at, key, validation.IsConfigMapKey(key))
		if _, twice := c.BinaryData[key]; twice {
			l.Invalid(at, key, "duplicate of key present in binaryData")
		}
		size += len(c.Data[key])
	}
	for _, key := range check.Keys(c.BinaryData) {
		l.Messages(field.NewPath("binaryData").Key(key), key, validation.IsConfigMapKey(key))
		size += len(c.BinaryData[key])
	}
	if size > corev1.MaxSecretSize {
		l.Add(field.TooLong(field.NewPath(""), "", corev1.MaxSecretSize))
	}
	return l.Errors
}

// ConfigMapUpdate checks a changed config map.
func ConfigMapUpdate(c, old *corev1.ConfigMap) field.ErrorList {
	l := check.List{Errors: check.ObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta)}
	if check.Deref(old.Immutable, false) {
		frozen(&l, "immutable", check.Deref(c.Immutable, false))
		frozen(&l, "data", reflect.DeepEqual(c.Data, old.Data))
		frozen(&l, "binaryData", reflect.DeepEqual(c.BinaryData, old.BinaryData))
	}
	l.Add(ConfigMap(c)...)
	return l.Errors
}

// frozen refuses a change of what its author has declared final.
func frozen(l *check.List, name string, same bool) {
	if !same {
		l.Forbidden(field.NewPath(name), "field is immutable when `immutable` is set")
	}
}

// Secret checks a new secret.
func Secret(s *corev1.Secret) field.ErrorList {
	l := check.List{Errors: check.ObjectMeta(&s.ObjectMeta, true, apivalidation.NameIsDNSSubdomain)}
	data, size := field.NewPath("data"), 0
	for _, key := range check.Keys(s.Data) {
		l.Messages(data.Key(key), key, validation.IsConfigMapKey(key))
		size += len(s.Data[key])
	}
	if size > corev1.MaxSecretSize {
		l.Add(field.TooLong(data, "", corev1.MaxSecretSize))
	}
	secretContent(&l, s, data)
	return l.Errors
}

// secretContent checks what each type of secret has to hold.
func secretContent(l *check.List, s *corev1.Secret, data *field.Path) {
	has := func(key string) bool { _, ok := s.Data[key]; return ok }
	need := func(key string) {
		if !has(key) {
			l.Required(data.Key(key), "")
		}
	}
	isJSON := func(key string) {
		need(key)
		if err := json.Unmarshal(s.Data[key], &map[string]any{}); has(key) && err != nil {
			l.Invalid(data.Key(key), "<secret contents redacted>", err.Error())
		}
	}
	switch s.Type {
	case corev1.SecretTypeServiceAccountToken:
		if s.Annotations[corev1.ServiceAccountNameKey] == "" {
			l.Required(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), "")
		}
	case corev1.SecretTypeDockercfg:
		isJSON(corev1.DockerConfigKey)
	case corev1.SecretTypeDockerConfigJson:
		isJSON(corev1.DockerConfigJsonKey)
	case corev1.SecretTypeBasicAuth:
		if !has(corev1.BasicAuthUsernameKey) && !has(corev1.BasicAuthPasswordKey) {
			need(corev1.BasicAuthUsernameKey)
			need(corev1.BasicAuthPasswordKey)
		}
	case corev1.SecretTypeSSHAuth:
		if len(s.Data[corev1.SSHAuthPrivateKey]) == 0 {
			l.Required(data.Key(corev1.SSHAuthPrivateKey), "")
		}
	case corev1.SecretTypeTLS:
		need(corev1.TLSCertKey)
		need(corev1.TLSPrivateKeyKey)
	}
}

// SecretUpdate checks a changed secret.
func SecretUpdate(s, old *corev1.Secret) field.ErrorList {
	l := check.List{Errors: check.ObjectMetaUpdate(&s.ObjectMeta, &old.ObjectMeta)}
	l.Add(check.Unchanged(s.Type, old.Type, field.NewPath("type"))...)
	if check.Deref(old.Immutable, false) {
		frozen(&l, "immutable", check.Deref(s.Immutable, false))
		frozen(&l, "data", reflect.DeepEqual(s.Data, old.Data))
	}
	l.Add(Secret(s)...)
	return l.Errors
}

// ServiceAccount checks a new service account.
func ServiceAccount(a *corev1.ServiceAccount) field.ErrorList {
	return check.ObjectMeta(&a.ObjectMeta, true, apivalidation.ValidateServiceAccountName)
}

// ServiceAccountUpdate checks a changed service account.
func ServiceAccountUpdate(a, old *corev1.ServiceAccount) field.ErrorList {
	return append(check.ObjectMetaUpdate(&a.ObjectMeta, &old.ObjectMeta), ServiceAccount(a)...)
}

// PodTemplate checks a new pod template.
func PodTemplate(t *corev1.PodTemplate) field.ErrorList {
	l := check.List{Errors: check.ObjectMeta(&t.ObjectMeta, true, apivalidation.NameIsDNSSubdomain)}
	l.Add(pod.Template(&t.Template, field.NewPath("template"))...)
	return l.Errors
}

// PodTemplateUpdate checks a changed pod template.
func PodTemplateUpdate(t, old *corev1.PodTemplate) field.ErrorList {
	l := check.List{Errors: check.ObjectMetaUpdate(&t.ObjectMeta, &old.ObjectMeta)}
	l.Add(pod.Template(&t.Template, field.NewPath("template"))...)
	return l.Errors
}

// ReplicationController checks a new replication controller.
func ReplicationController(rc *corev1.ReplicationController) field.ErrorList {
	l := check.List{Errors: check.ObjectMeta(&rc.ObjectMeta, true, apivalidation.NameIsDNSSubdomain)}
	replicationControllerSpec(&l, &rc.Spec, field.NewPath("spec"))
	return l.Errors
}

// ReplicationControllerUpdate checks a changed replication controller.
func ReplicationControllerUpdate(rc, old *corev1.ReplicationController) field.ErrorList {
	l := check.List{Errors: check.ObjectMetaUpdate(&rc.ObjectMeta, &old.ObjectMeta)}
	replicationControllerSpec(&l, &rc.Spec, field.NewPath("spec"))
	return l.Errors
}

func replicationControllerSpec(l *check.List, s *corev1.ReplicationControllerSpec, path *field.Path) {
	l.NonNegative(path.Child("minReadySeconds"), int64(s.MinReadySeconds))
	if len(s.Selector) == 0 {
		l.Required(path.Child("selector"), "")
	}
	l.NonNegative(path.Child("replicas"), int64(check.Deref(s.Replicas, 1)))
	t, at := s.Template, path.Child("template")
	if t == nil {
		l.Required(at, "")
		return
	}
	if len(s.Selector) > 0 && !labels.SelectorFromSet(s.Selector).Matches(labels.Set(t.Labels)) {
		l.Invalid(at.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`")
	}
	l.Add(pod.Template(t, at)...)
	if t.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		l.Add(field.NotSupported(at.Child("spec", "restartPolicy"), t.Spec.RestartPolicy, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		l.Forbidden(at.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicationController is not Supported")
	}
}

// ReplicationControllerStatusUpdate checks a changed status.
func ReplicationControllerStatusUpdate(rc, old *corev1.ReplicationController) field.ErrorList {
	l := check.List{Errors: check.ObjectMetaUpdate(&rc.ObjectMeta, &old.ObjectMeta)}
	s, path := &rc.Status, field.NewPath("status")
	for _, n := range []struct {
		name        string
		value, most int32
	}{
		{"fullyLabeledReplicas", s.FullyLabeledReplicas, s.Replicas}, {"readyReplicas", s.ReadyReplicas, s.Replicas},
		{"availableReplicas", s.AvailableReplicas, s.Replicas},
	} {
		l.NonNegative(path.Child(n.name), int64(n.value))
		if n.value > n.most {
			l.Invalid(path.Child(n.name), n.value, "cannot be greater than status.replicas")
		}
	}
	l.NonNegative(path.Child("replicas"), int64(s.Replicas))
	l.NonNegative(path.Child("observedGeneration"), s.ObservedGeneration)
	if s.AvailableReplicas > s.ReadyReplicas {
		l.Invalid(path.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas")
	}
	return l.Errors
}

// Event checks a new event. strict is for those of events.k8s.io/v1, where
// more has to be said.
func Event(e *corev1.Event, strict bool) field.ErrorList {
	l := check.List{}
	event(&l, e, strict)
	if !strict {
		return l.Errors
	}
	l.Add(check.ObjectMeta(&e.ObjectMeta, true, apivalidation.NameIsDNSSubdomain)...)
	eventSeries(&l, e)
	if e.EventTime.IsZero() {
		l.Required(field.NewPath("eventTime"), "")
	}
	if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
		l.Invalid(field.NewPath("type"), "", fmt.Sprintf("has invalid value: %v", e.Type))
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"firstTimestamp", !e.FirstTimestamp.IsZero()}, {"lastTimestamp", !e.LastTimestamp.IsZero()},
		{"count", e.Count != 0}, {"source", e.Source != corev1.EventSource{}},
	} {
		if f.set {
			l.Invalid(field.NewPath(f.name), "", "needs to be unset")
		}
	}
	return l.Errors
}

// The longest values of an event that has an eventTime.
const (
	maxReason = 128
	maxNote   = 1024
)

// event checks what both groups want. An event with an eventTime was made by a
// client of the newer kind, which says more.
func event(l *check.List, e *corev1.Event, strict bool) {
	involved := e.InvolvedObject.Namespace
	elsewhere := func() {
		l.Invalid(field.NewPath("involvedObject", "namespace"), involved, "does not match event.namespace")
	}
	if e.EventTime.IsZero() {
		if involved != e.Namespace && (involved != "" || e.Namespace != metav1.NamespaceDefault) {
			elsewhere()
		}
		return
	}
	if involved == "" && e.Namespace != metav1.NamespaceDefault && e.Namespace != metav1.NamespaceSystem {
		elsewhere()
	}
	controller := field.NewPath("reportingComponent") // its name in the core group
	if strict {
		controller = field.NewPath("reportingController")
	}
	if e.ReportingController == "" {
		l.Required(controller, "")
	}
	l.QualifiedName(controller, e.ReportingController)
	for _, f := range []struct {
		name, value string
		most        int
	}{{"reportingInstance", e.ReportingInstance, maxReason}, {"action", e.Action, maxReason}, {"reason", e.Reason, maxReason}} {
		if f.value == "" {
			l.Required(field.NewPath(f.name), "")
		}
		if len(f.value) > f.most {
			l.Invalid(field.NewPath(f.name), "", fmt.Sprintf("can have at most %v characters", f.most))
		}
	}
	if len(e.Message) > maxNote {
		l.Invalid(field.NewPath("message"), "", fmt.Sprintf("can have at most %v characters", maxNote))
	}
}

func eventSeries(l *check.List, e *corev1.Event) {
	if e.Series == nil {
		return
	}
	if e.Series.Count < 2 {
		l.Invalid(field.NewPath("series.count"), "", "should be at least 2")
	}
	if e.Series.LastObservedTime.IsZero() {
		l.Required(field.NewPath("series.lastObservedTime"), "")
	}
}

// EventUpdate checks a changed event: by events.k8s.io/v1 only its series may
// change.
func EventUpdate(e, old *corev1.Event, strict bool) field.ErrorList {
	l := check.List{}
	event(&l, e, strict)
	if !strict {
		return l.Errors
	}
	l.Add(check.ObjectMetaUpdate(&e.ObjectMeta, &old.ObjectMeta)...)
	if !apiequality.Semantic.DeepEqual(e.Series, old.Series) {
		eventSeries(&l, e)
	}
	for _, f := range []struct {
		name     string
		now, old any
	}{
		{"involvedObject", e.InvolvedObject, old.InvolvedObject}, {"reason", e.Reason, old.Reason}, {"message", e.Message, old.Message},
		{"source", e.Source, old.Source}, {"firstTimestamp", e.FirstTimestamp, old.FirstTimestamp},
		{"lastTimestamp", e.LastTimestamp, old.LastTimestamp}, {"count", e.Count, old.Count}, {"reason", e.Reason, old.Reason},
		{"type", e.Type, old.Type}, {"eventTime", e.EventTime.UnixMicro(), old.EventTime.UnixMicro()}, {"action", e.Action, old.Action},
		{"related", e.Related, old.Related}, {"reportingController", e.ReportingController, old.ReportingController},
		{"reportingInstance", e.ReportingInstance, old.ReportingInstance},
	} {
		l.Add(check.Unchanged(f.now, f.old, field.NewPath(f.name))...)
	}
	return l.Errors
}
