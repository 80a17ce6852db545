package resources

import (
	"context"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/sinawi/sinawi/internal/apiserver/columns"
	"github.com/sinawi/sinawi/internal/apiserver/validation/core"
	"github.com/sinawi/sinawi/internal/apiserver/warnings"
)

// Core returns the rows of the core group. Subresources beyond status and
// scale are in PodEphemeralContainers, PodResize and NamespaceFinalize.
func Core() []Resource {
	return []Resource{
		namespaces(), nodes(), pods(), podTemplates(), coreServices(), endpoints(), configMaps(), secrets(),
		serviceAccounts(), events(), replicationControllers(), persistentVolumes(), persistentVolumeClaims(),
		limitRanges(), resourceQuotas(),
	}
}

func coreRow[T, L any, PT objectPtr[T], PL objectPtr[L]](kind, plural string, short ...string) Resource {
	return row[T, L, PT, PL](corev1.SchemeGroupVersion, kind, plural, short...)
}

func table(r *Resource, columns []metav1.TableColumnDefinition, cells func(runtime.Object) []any) {
	r.Columns, r.Cells = columns, cells
}

func namespaces() Resource {
	r := coreRow[corev1.Namespace, corev1.NamespaceList]("Namespace", "namespaces", "ns")
	r.ClusterScoped = true
	table(&r, columns.Namespace(), columns.NamespaceCells)
	r.SelectableFields = selectable(func(n *corev1.Namespace) fields.Set {
		return fields.Set{"status.phase": string(n.Status.Phase)}
	})
	r.Strategy, r.Status = namespaceStrategy(), namespaceStatusStrategy()
	return r
}

func nodes() Resource {
	r := coreRow[corev1.Node, corev1.NodeList]("Node", "nodes", "no")
	r.ClusterScoped = true
	r.StoragePrefix = "minions"
	table(&r, columns.Node(), columns.NodeCells)
	r.SelectableFields = selectable(func(n *corev1.Node) fields.Set {
		return fields.Set{"spec.unschedulable": strconv.FormatBool(n.Spec.Unschedulable)}
	})
	r.Strategy, r.Status = nodeStrategy(), nodeStatusStrategy()
	return r
}

func pods() Resource {
	r := coreRow[corev1.Pod, corev1.PodList]("Pod", "pods", "po")
	r.Categories = []string{"all"}
	table(&r, columns.Pod(), columns.PodCells)
	selectPods(&r)
	r.IndexedField = "spec.nodeName" // every node watches its own
	r.IndexedValue = func(obj runtime.Object) string { return obj.(*corev1.Pod).Spec.NodeName }
	r.ReturnsDeleted = true
	r.Strategy, r.Status = podStrategy(), podStatusStrategy()
	return r
}

// podField is a field that pods are selected by.
type podField struct {
	name   string
	unsaid string // what most pods have there
	of     func(*corev1.Pod) string
}

func podFields() []podField {
	ip := func(p *corev1.Pod) string {
		if len(p.Status.PodIPs) == 0 {
			return ""
		}
		return p.Status.PodIPs[0].IP
	}
	return []podField{
		{"spec.nodeName", "", func(p *corev1.Pod) string { return p.Spec.NodeName }},
		{"spec.restartPolicy", string(corev1.RestartPolicyAlways), func(p *corev1.Pod) string { return string(p.Spec.RestartPolicy) }},
		{"spec.schedulerName", corev1.DefaultSchedulerName, func(p *corev1.Pod) string { return p.Spec.SchedulerName }},
		{"spec.serviceAccountName", "", func(p *corev1.Pod) string { return p.Spec.ServiceAccountName }},
		{"spec.hostNetwork", "false", func(p *corev1.Pod) string { return strconv.FormatBool(p.Spec.HostNetwork) }},
		{"status.phase", "", func(p *corev1.Pod) string { return string(p.Status.Phase) }},
		{"status.podIP", "", ip},
		{"status.podIPs", "", ip},
		{"status.nominatedNodeName", "", func(p *corev1.Pod) string { return p.Status.NominatedNodeName }},
	}
}

// selectPods sets what pods are selected by. The watch cache keeps a set of fields for
// each pod and for each change that it remembers, and a map of up to eight keys takes
// a third of what a larger one does: so what most pods say is left out.
func selectPods(r *Resource) {
	all := podFields()
	r.UnsaidFields = make(map[string]string, len(all))
	for _, f := range all {
		r.UnsaidFields[f.name] = f.unsaid
	}
	r.SelectableFields = selectable(func(p *corev1.Pod) fields.Set {
		set := make(fields.Set, 8)
		for _, f := range all {
			if value := f.of(p); value != f.unsaid {
				set[f.name] = value
			}
		}
		return set
	})
}

func podTemplates() Resource {
	r := coreRow[corev1.PodTemplate, corev1.PodTemplateList]("PodTemplate", "podtemplates")
	table(&r, columns.PodTemplate(), columns.PodTemplateCells)
	r.ReturnsDeleted = true
	r.Strategy = podTemplateStrategy()
	return r
}

// coreServices is the row of Service; addresses and node ports are given out
// by package services, which wraps the storage.
func coreServices() Resource {
	r := coreRow[corev1.Service, corev1.ServiceList]("Service", "services", "svc")
	r.Categories = []string{"all"}
	r.StoragePrefix = "services/specs"
	table(&r, columns.Service(), columns.ServiceCells)
	r.SelectableFields = selectable(func(s *corev1.Service) fields.Set {
		return fields.Set{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
	})
	r.ReturnsDeleted = true
	r.Strategy, r.Status = serviceStrategy(), serviceStatusStrategy()
	return r
}

func endpoints() Resource {
	//lint:ignore SA1019 served until Kubernetes drops it
	r := coreRow[corev1.Endpoints, corev1.EndpointsList]("Endpoints", "endpoints", "ep")
	r.StoragePrefix = "services/endpoints"
	table(&r, columns.Endpoints(), columns.EndpointsCells)
	r.Strategy = endpointsStrategy()
	return r
}

func configMaps() Resource {
	r := coreRow[corev1.ConfigMap, corev1.ConfigMapList]("ConfigMap", "configmaps", "cm")
	table(&r, columns.ConfigMap(), columns.ConfigMapCells)
	r.Strategy = configMapStrategy()
	return r
}

func secrets() Resource {
	r := coreRow[corev1.Secret, corev1.SecretList]("Secret", "secrets")
	table(&r, columns.Secret(), columns.SecretCells)
	r.SelectableFields = selectable(func(s *corev1.Secret) fields.Set { return fields.Set{"type": string(s.Type)} })
	r.Strategy = secretStrategy()
	return r
}

func serviceAccounts() Resource {
	r := coreRow[corev1.ServiceAccount, corev1.ServiceAccountList]("ServiceAccount", "serviceaccounts", "sa")
	table(&r, columns.ServiceAccount(), columns.ServiceAccountCells)
	r.ReturnsDeleted = true
	r.Strategy = serviceAccountStrategy()
	return r
}

func events() Resource {
	r := coreRow[corev1.Event, corev1.EventList]("Event", "events", "ev")
	r.TTLSeconds = 60 * 60
	r.ServedAs = []schema.GroupVersion{eventsv1.SchemeGroupVersion}
	table(&r, columns.Event(), columns.EventCells)
	r.SelectableFields = selectable(func(e *corev1.Event) fields.Set {
		source := e.Source.Component
		if source == "" {
			source = e.ReportingController
		}
		o := &e.InvolvedObject
		return fields.Set{
			"involvedObject.kind":            o.Kind,
			"involvedObject.namespace":       o.Namespace,
			"involvedObject.name":            o.Name,
			"involvedObject.uid":             string(o.UID),
			"involvedObject.apiVersion":      o.APIVersion,
			"involvedObject.resourceVersion": o.ResourceVersion,
			"involvedObject.fieldPath":       o.FieldPath,
			"reason":                         e.Reason,
			"reportingComponent":             e.ReportingController,
			"source":                         source,
			"type":                           e.Type,
		}
	})
	r.Strategy = eventStrategy()
	return r
}

func replicationControllers() Resource {
	r := coreRow[corev1.ReplicationController, corev1.ReplicationControllerList]("ReplicationController", "replicationcontrollers", "rc")
	r.Categories = []string{"all"}
	r.StoragePrefix = "controllers"
	table(&r, columns.ReplicationController(), columns.ReplicationControllerCells)
	r.SelectableFields = selectable(func(rc *corev1.ReplicationController) fields.Set {
		return fields.Set{"status.replicas": strconv.Itoa(int(rc.Status.Replicas))}
	})
	r.Strategy, r.Status = replicationControllerStrategy(), replicationControllerStatusStrategy()
	r.Scale = &Scale{
		Replicas:    func(o runtime.Object) int32 { return deref(o.(*corev1.ReplicationController).Spec.Replicas, 1) },
		SetReplicas: func(o runtime.Object, n int32) { o.(*corev1.ReplicationController).Spec.Replicas = &n },
		Status:      func(o runtime.Object) int32 { return o.(*corev1.ReplicationController).Status.Replicas },
		Selector: func(o runtime.Object) string {
			return labels.Set(o.(*corev1.ReplicationController).Spec.Selector).AsSelector().String()
		},
	}
	return r
}

func persistentVolumes() Resource {
	r := coreRow[corev1.PersistentVolume, corev1.PersistentVolumeList]("PersistentVolume", "persistentvolumes", "pv")
	r.ClusterScoped = true
	table(&r, columns.PersistentVolume(), columns.PersistentVolumeCells)
	r.ReturnsDeleted = true
	r.Strategy, r.Status = persistentVolumeStrategy(), persistentVolumeStatusStrategy()
	return r
}

func persistentVolumeClaims() Resource {
	r := coreRow[corev1.PersistentVolumeClaim, corev1.PersistentVolumeClaimList]("PersistentVolumeClaim", "persistentvolumeclaims", "pvc")
	table(&r, columns.PersistentVolumeClaim(), columns.PersistentVolumeClaimCells)
	r.ReturnsDeleted = true
	r.Strategy, r.Status = persistentVolumeClaimStrategy(), persistentVolumeClaimStatusStrategy()
	return r
}

func limitRanges() Resource {
	r := coreRow[corev1.LimitRange, corev1.LimitRangeList]("LimitRange", "limitranges", "limits")
	r.Strategy = limitRangeStrategy()
	return r
}

func resourceQuotas() Resource {
	r := coreRow[corev1.ResourceQuota, corev1.ResourceQuotaList]("ResourceQuota", "resourcequotas", "quota")
	table(&r, columns.ResourceQuota(), columns.ResourceQuotaCells)
	r.ReturnsDeleted = true
	r.Strategy, r.Status = resourceQuotaStrategy(), resourceQuotaStatusStrategy()
	return r
}

// plain is the strategy of kinds that are written as a whole.
func plain() Strategy { return Strategy{AllowUnconditionalUpdate: true} }

func podTemplateStrategy() Strategy {
	s := checked(plain(), core.PodTemplate, core.PodTemplateUpdate)
	s.AutoGeneration = true
	s = templated(s, func(t *corev1.PodTemplate) *corev1.PodTemplateSpec { return &t.Template })
	return warnedOnChange(s, func(t *corev1.PodTemplate) []string { return warnings.Template(&t.Template, field.NewPath("template")) })
}

func endpointsStrategy() Strategy {
	s := checked(plain(), core.Endpoints, core.EndpointsUpdate)
	s.AllowCreateOnUpdate = true
	return s
}

func configMapStrategy() Strategy { return checked(plain(), core.ConfigMap, core.ConfigMapUpdate) }

func secretStrategy() Strategy {
	return warned(checked(plain(), core.Secret, core.SecretUpdate), warnings.Secret)
}

func serviceAccountStrategy() Strategy {
	s := checked(plain(), core.ServiceAccount, core.ServiceAccountUpdate)
	// References to secrets by kind, uid or version are older than the rule
	// that only names count.
	clean := func(a *corev1.ServiceAccount) {
		for i := range a.Secrets {
			a.Secrets[i] = corev1.ObjectReference{Name: a.Secrets[i].Name}
		}
	}
	s.PrepareForCreate = onCreate(clean)
	s.PrepareForUpdate = onUpdate(func(a, _ *corev1.ServiceAccount) { clean(a) })
	return s
}

func eventStrategy() Strategy {
	s := plain()
	s.AllowCreateOnUpdate = true
	s.Validate = func(ctx context.Context, obj runtime.Object) field.ErrorList {
		return core.Event(obj.(*corev1.Event), strictEvents(ctx))
	}
	s.ValidateUpdate = func(ctx context.Context, obj, old runtime.Object) field.ErrorList {
		return core.EventUpdate(obj.(*corev1.Event), old.(*corev1.Event), strictEvents(ctx))
	}
	return s
}

// strictEvents tells whether a request came by events.k8s.io, where more has
// to be said than in the core group.
func strictEvents(ctx context.Context) bool {
	info, ok := request.RequestInfoFrom(ctx)
	return ok && info.APIGroup == eventsv1.GroupName
}

func limitRangeStrategy() Strategy {
	s := checked(plain(), core.LimitRange, func(r, old *corev1.LimitRange) field.ErrorList { return core.LimitRange(r) })
	s.AllowCreateOnUpdate = true
	return s
}

func resourceQuotaStrategy() Strategy {
	s := checked(plain(), core.ResourceQuota, core.ResourceQuotaUpdate)
	s.Warnings = onWarn(warnings.ResourceQuota)
	s.PrepareForCreate = onCreate(func(q *corev1.ResourceQuota) { q.Status = corev1.ResourceQuotaStatus{} })
	s.PrepareForUpdate = onUpdate(func(q, old *corev1.ResourceQuota) { q.Status = old.Status })
	s.ResetFields = resetStatus()
	return s
}

func resourceQuotaStatusStrategy() *Strategy {
	s := checked(plain(), nil, core.ResourceQuotaStatusUpdate)
	s.PrepareForUpdate = onUpdate(func(q, old *corev1.ResourceQuota) { q.Spec = old.Spec })
	s.ResetFields = resetSpec()
	return &s
}

func replicationControllerStrategy() Strategy {
	s := checked(plain(), core.ReplicationController, core.ReplicationControllerUpdate)
	s.AutoGeneration = true
	s.OrphanDependents = true
	s.PrepareForCreate = onCreate(func(rc *corev1.ReplicationController) { rc.Status = corev1.ReplicationControllerStatus{} })
	s.PrepareForUpdate = onUpdate(func(rc, old *corev1.ReplicationController) { rc.Status = old.Status })
	s.ResetFields = resetStatus()
	s = templated(s, func(rc *corev1.ReplicationController) *corev1.PodTemplateSpec { return rc.Spec.Template })
	return named[*corev1.ReplicationController](warnedOnChange(s, func(rc *corev1.ReplicationController) []string {
		return warnings.Template(rc.Spec.Template, field.NewPath("spec", "template"))
	}))
}

func replicationControllerStatusStrategy() *Strategy {
	s := checked(plain(), nil, core.ReplicationControllerStatusUpdate)
	s.PrepareForUpdate = onUpdate(func(rc, old *corev1.ReplicationController) { rc.Spec = old.Spec })
	s.ResetFields = resetSpec()
	return &s
}

func namespaceStrategy() Strategy {
	s := checked(Strategy{}, core.Namespace, core.NamespaceUpdate)
	s.PrepareForCreate = onCreate(func(n *corev1.Namespace) {
		n.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
		// The kubernetes finalizer is what lets the namespace controller empty
		// a namespace before it goes.
		if !slices.Contains(n.Spec.Finalizers, corev1.FinalizerKubernetes) {
			n.Spec.Finalizers = append(n.Spec.Finalizers, corev1.FinalizerKubernetes)
		}
	})
	s.PrepareForUpdate = onUpdate(func(n, old *corev1.Namespace) {
		n.Spec.Finalizers = old.Spec.Finalizers
		n.Status = old.Status
	})
	s.AllowUnconditionalUpdate = true
	s.ResetFields = resetStatus()
	s.Canonicalize = func(obj runtime.Object) {
		n := obj.(*corev1.Namespace)
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		n.Labels[corev1.LabelMetadataName] = n.Name
	}
	return s
}

func namespaceStatusStrategy() *Strategy {
	s := checked(namespaceStrategy(), nil, core.NamespaceStatusUpdate)
	s.PrepareForUpdate = onUpdate(func(n, old *corev1.Namespace) { n.Spec = old.Spec })
	s.ResetFields = resetSpec()
	return &s
}

// NamespaceFinalize is the finalize subresource: it alone writes
// spec.finalizers.
func NamespaceFinalize() Strategy {
	s := checked(namespaceStrategy(), nil, core.NamespaceFinalizeUpdate)
	s.PrepareForUpdate = onUpdate(func(n, old *corev1.Namespace) { n.Status = old.Status })
	s.ResetFields = resetStatus()
	return s
}

func nodeStrategy() Strategy {
	s := warned(checked(plain(), core.Node, core.NodeUpdate), warnings.Node)
	// The dynamic configuration of kubelets is gone; old nodes keep theirs.
	s.PrepareForCreate = func(_ context.Context, obj runtime.Object) {
		n := obj.(*corev1.Node)
		n.Spec.ConfigSource, n.Status.Config = nil, nil
		n.Spec.PodPreemptionPolicy = nil
	}
	s.PrepareForUpdate = onUpdate(func(n, old *corev1.Node) {
		n.Status = old.Status
		if old.Spec.ConfigSource == nil {
			n.Spec.ConfigSource = nil
		}
		if old.Spec.PodPreemptionPolicy == nil {
			n.Spec.PodPreemptionPolicy = nil
		}
	})
	s.ResetFields = resetStatus()
	return s
}

func nodeStatusStrategy() *Strategy {
	s := checked(plain(), nil, core.NodeStatusUpdate)
	s.PrepareForUpdate = func(_ context.Context, obj, old runtime.Object) {
		n, o := obj.(*corev1.Node), old.(*corev1.Node)
		n.Spec = o.Spec
		if o.Status.Config == nil {
			n.Status.Config = nil
		}
	}
	s.ResetFields = resetSpec()
	return &s
}
