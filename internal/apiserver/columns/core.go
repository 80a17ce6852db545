package columns

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// Namespace columns.
func Namespace() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{Name(), Text("Status", "The status of the namespace"), Age()}
}

// NamespaceCells fills the columns of Namespace.
func NamespaceCells(obj runtime.Object) []any {
	n := obj.(*corev1.Namespace)
	return []any{n.Name, string(n.Status.Phase), Since(n.CreationTimestamp)}
}

// Node columns.
func Node() []metav1.TableColumnDefinition {
	info, status := corev1.NodeSystemInfo{}.SwaggerDoc(), corev1.NodeStatus{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		Name(),
		Text("Status", "The status of the node"),
		Text("Roles", "The roles of the node"),
		Age(),
		Text("Version", info["kubeletVersion"]),
		Wide(Text("Internal-IP", status["addresses"])),
		Wide(Text("External-IP", status["addresses"])),
		Wide(Text("OS-Image", info["osImage"])),
		Wide(Text("Kernel-Version", info["kernelVersion"])),
		Wide(Text("Container-Runtime", info["containerRuntimeVersion"])),
	}
}

// NodeCells fills the columns of Node.
func NodeCells(obj runtime.Object) []any {
	n := obj.(*corev1.Node)
	status := "Unknown"
	for i := range n.Status.Conditions {
		if c := &n.Status.Conditions[i]; c.Type == corev1.NodeReady {
			status = "NotReady"
			if c.Status == corev1.ConditionTrue {
				status = "Ready"
			}
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	info := &n.Status.NodeInfo
	kernel := or(info.KernelVersion, unknown)
	if info.Architecture != "" {
		kernel += " (" + info.Architecture + ")"
	}
	return []any{
		n.Name, status, OrNone(strings.Join(nodeRoles(n.Labels), ",")), Since(n.CreationTimestamp), info.KubeletVersion,
		nodeAddress(n, corev1.NodeInternalIP), nodeAddress(n, corev1.NodeExternalIP),
		or(info.OSImage, unknown), kernel, or(info.ContainerRuntimeVersion, unknown),
	}
}

// nodeRoles reads roles from node-role.kubernetes.io/<role> and
// kubernetes.io/role=<role>.
func nodeRoles(set map[string]string) []string {
	var roles []string
	for key, value := range set {
		if role, ok := strings.CutPrefix(key, "node-role.kubernetes.io/"); ok && role != "" {
			roles = append(roles, role)
		} else if key == "kubernetes.io/role" && value != "" {
			roles = append(roles, value)
		}
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

func nodeAddress(n *corev1.Node, kind corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == kind {
			return a.Address
		}
	}
	return none
}

// PodTemplate columns.
func PodTemplate() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		Name(),
		Text("Containers", "Names of each container in the template."),
		Text("Images", "Images referenced by each container in the template."),
		Text("Pod Labels", "The labels for the pod template."),
	}
}

// PodTemplateCells fills the columns of PodTemplate.
func PodTemplateCells(obj runtime.Object) []any {
	t := obj.(*corev1.PodTemplate)
	names, images := Containers(t.Template.Spec.Containers)
	return []any{t.Name, names, images, labels.FormatLabels(t.Template.Labels)}
}

// ReplicationController columns.
func ReplicationController() []metav1.TableColumnDefinition {
	spec, status := corev1.ReplicationControllerSpec{}.SwaggerDoc(), corev1.ReplicationControllerStatus{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		Name(),
		Number("Desired", spec["replicas"]),
		Number("Current", status["replicas"]),
		Number("Ready", status["readyReplicas"]),
		Age(),
		Wide(Text("Containers", "Names of each container in the template.")),
		Wide(Text("Images", "Images referenced by each container in the template.")),
		Wide(Text("Selector", spec["selector"])),
	}
}

// ReplicationControllerCells fills the columns of ReplicationController.
func ReplicationControllerCells(obj runtime.Object) []any {
	rc := obj.(*corev1.ReplicationController)
	var desired int64
	if rc.Spec.Replicas != nil {
		desired = int64(*rc.Spec.Replicas)
	}
	var containers []corev1.Container
	if rc.Spec.Template != nil {
		containers = rc.Spec.Template.Spec.Containers
	}
	names, images := Containers(containers)
	return []any{
		rc.Name, desired, int64(rc.Status.Replicas), int64(rc.Status.ReadyReplicas), Since(rc.CreationTimestamp),
		names, images, labels.FormatLabels(rc.Spec.Selector),
	}
}

// Endpoints columns.
func Endpoints() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{Name(), Text("Endpoints", corev1.Endpoints{}.SwaggerDoc()["subsets"]), Age()}
}

// EndpointsCells fills the columns of Endpoints.
func EndpointsCells(obj runtime.Object) []any {
	e := obj.(*corev1.Endpoints)
	return []any{e.Name, endpoints(e.Subsets), Since(e.CreationTimestamp)}
}

// endpoints lists the first three addresses and counts the rest.
func endpoints(subsets []corev1.EndpointSubset) string {
	const shown = 3
	if len(subsets) == 0 {
		return none
	}
	var list []string
	count := 0
	for i := range subsets {
		s := &subsets[i]
		for _, a := range s.Addresses {
			if len(s.Ports) == 0 && len(list) < shown {
				list = append(list, a.IP)
			}
		}
		for _, port := range s.Ports {
			for _, a := range s.Addresses {
				if len(list) < shown {
					list = append(list, net.JoinHostPort(a.IP, strconv.Itoa(int(port.Port))))
				}
			}
		}
		count += len(s.Addresses) * max(1, len(s.Ports))
	}
	out := strings.Join(list, ",")
	if count > shown {
		return fmt.Sprintf("%s + %d more...", out, count-shown)
	}
	return out
}

// ConfigMap columns.
func ConfigMap() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{Name(), Text("Data", corev1.ConfigMap{}.SwaggerDoc()["data"]), Age()}
}

// ConfigMapCells fills the columns of ConfigMap.
func ConfigMapCells(obj runtime.Object) []any {
	c := obj.(*corev1.ConfigMap)
	return []any{c.Name, int64(len(c.Data) + len(c.BinaryData)), Since(c.CreationTimestamp)}
}

// Secret columns.
func Secret() []metav1.TableColumnDefinition {
	doc := corev1.Secret{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{Name(), Text("Type", doc["type"]), Text("Data", doc["data"]), Age()}
}

// SecretCells fills the columns of Secret.
func SecretCells(obj runtime.Object) []any {
	s := obj.(*corev1.Secret)
	return []any{s.Name, string(s.Type), int64(len(s.Data)), Since(s.CreationTimestamp)}
}

// ServiceAccount columns.
func ServiceAccount() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{Name(), Age()}
}

// ServiceAccountCells fills the columns of ServiceAccount.
func ServiceAccountCells(obj runtime.Object) []any {
	s := obj.(*corev1.ServiceAccount)
	return []any{s.Name, Since(s.CreationTimestamp)}
}

// Event columns.
func Event() []metav1.TableColumnDefinition {
	doc := corev1.Event{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		Text("Last Seen", doc["lastTimestamp"]),
		Text("Type", doc["type"]),
		Text("Reason", doc["reason"]),
		Text("Object", doc["involvedObject"]),
		Wide(Text("Subobject", corev1.ObjectReference{}.SwaggerDoc()["fieldPath"])),
		Wide(Text("Source", doc["source"])),
		Text("Message", doc["message"]),
		Wide(Text("First Seen", doc["firstTimestamp"])),
		Wide(Text("Count", doc["count"])),
		Wide(Name()),
	}
}

// EventCells fills the columns of Event.
func EventCells(obj runtime.Object) []any {
	e := obj.(*corev1.Event)
	first := Since(e.FirstTimestamp)
	if e.FirstTimestamp.IsZero() {
		first = SinceMicro(e.EventTime)
	}
	last := Since(e.LastTimestamp)
	if e.LastTimestamp.IsZero() {
		last = first
	}
	count := e.Count
	if e.Series != nil {
		last, count = SinceMicro(e.Series.LastObservedTime), e.Series.Count
	} else if count == 0 {
		count = 1 // an event of the newer API that happened once
	}
	object := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name != "" {
		object += "/" + e.InvolvedObject.Name
	}
	source := e.Source.Component
	if source == "" {
		source = e.ReportingController
	}
	host := e.Source.Host
	if host == "" {
		host = e.ReportingInstance
	}
	if host != "" {
		source += ", " + host
	}
	return []any{
		last, e.Type, e.Reason, object, e.InvolvedObject.FieldPath, source,
		strings.TrimSpace(e.Message), first, int64(count), e.Name,
	}
}

// ResourceQuota columns.
func ResourceQuota() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		Name(),
		Text("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
		Text("Limit", "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node."),
		Age(),
	}
}

// ResourceQuotaCells fills the columns of ResourceQuota.
func ResourceQuotaCells(obj runtime.Object) []any {
	q := obj.(*corev1.ResourceQuota)
	var requests, limits []string
	names := make([]string, 0, len(q.Status.Hard))
	for name := range q.Status.Hard {
		names = append(names, string(name))
	}
	slices.Sort(names)
	for _, name := range names {
		used, hard := q.Status.Used[corev1.ResourceName(name)], q.Status.Hard[corev1.ResourceName(name)]
		item := fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String())
		if strings.HasPrefix(name, "limits") {
			limits = append(limits, item)
		} else {
			requests = append(requests, item)
		}
	}
	return []any{q.Name, strings.Join(requests, ", "), strings.Join(limits, ", "), Since(q.CreationTimestamp)}
}

// ComponentStatus columns.
func ComponentStatus() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		Name(),
		Text("Status", "Status of the component conditions"),
		Text("Message", "Message of the component conditions"),
		Text("Error", "Error of the component conditions"),
	}
}

// ComponentStatusCells fills the columns of ComponentStatus.
func ComponentStatusCells(obj runtime.Object) []any {
	s := obj.(*corev1.ComponentStatus)
	for _, c := range s.Conditions {
		switch {
		case c.Type != corev1.ComponentHealthy:
		case c.Status == corev1.ConditionTrue:
			return []any{s.Name, "Healthy", c.Message, c.Error}
		default:
			return []any{s.Name, "Unhealthy", c.Message, c.Error}
		}
	}
	return []any{s.Name, "Unknown", "", ""}
}
