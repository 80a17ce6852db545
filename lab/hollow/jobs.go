package hollow

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// job is one write that is due.
type job struct {
	node *node
	what work
	pod  identity
}

type work int

const (
	renew  work = iota // the node's lease
	report             // the node's status
	run                // say that a pod runs
	end                // delete a pod that was told to go
)

const writeTimeout = time.Minute

func (f *Fleet) do(ctx context.Context, j job) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	switch j.what {
	case renew:
		defer j.node.pending.Store(false)
		return f.renew(ctx, j.node)
	case report:
		j.node.asked.Store(false) // before: what is seen from here on is told again
		return f.report(ctx, j.node)
	case run:
		return f.run(ctx, j.node, j.pod)
	default:
		return f.end(ctx, j.node, j.pod)
	}
}

// as makes a request one of the node's.
func as(n *node, r *rest.Request) *rest.Request {
	return r.SetHeader("Impersonate-User", "system:node:"+n.name).SetHeader("Impersonate-Group", "system:nodes")
}

func (f *Fleet) create(ctx context.Context, n *node) error {
	err := as(n, f.client.CoreV1().RESTClient().Post().Resource("nodes")).Body(f.object(n)).Do(ctx).Error()
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return f.renew(ctx, n)
}

func (f *Fleet) object(n *node) *corev1.Node {
	resources := corev1.ResourceList{
		corev1.ResourceCPU:              resource.MustParse(f.opts.CPU),
		corev1.ResourceMemory:           resource.MustParse(f.opts.Memory),
		corev1.ResourcePods:             *resource.NewQuantity(int64(f.opts.Pods), resource.DecimalSI),
		corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.name, Labels: map[string]string{
			corev1.LabelHostname: n.name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
			corev1.LabelTopologyZone:   fmt.Sprintf("zone-%d", n.number%f.opts.Zones),
			corev1.LabelTopologyRegion: "region",
		}},
		Status: corev1.NodeStatus{
			Capacity: resources, Allocatable: resources,
			Conditions: conditions(),
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address(10, n.number)}, {Type: corev1.NodeHostName, Address: n.name}},
			NodeInfo: corev1.NodeSystemInfo{KubeletVersion: "v1.37.2", OperatingSystem: "linux", Architecture: "amd64",
				ContainerRuntimeVersion: "hollow://1", OSImage: "hollow", KernelVersion: "6"},
		},
	}
}

func conditions() []corev1.NodeCondition {
	return []corev1.NodeCondition{ready(), pressure(corev1.NodeMemoryPressure, "KubeletHasSufficientMemory"),
		pressure(corev1.NodeDiskPressure, "KubeletHasNoDiskPressure"), pressure(corev1.NodePIDPressure, "KubeletHasSufficientPID")}
}

func ready() corev1.NodeCondition {
	now := metav1.Now()
	return corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady",
		Message: "kubelet is posting ready status", LastHeartbeatTime: now, LastTransitionTime: now}
}

func pressure(kind corev1.NodeConditionType, reason string) corev1.NodeCondition {
	c := ready()
	c.Type, c.Status, c.Reason, c.Message = kind, corev1.ConditionFalse, reason, ""
	return c
}

// address makes an address of a number.
func address(first byte, n int) string {
	return fmt.Sprintf("%d.%d.%d.%d", first, byte(n>>16), byte(n>>8), byte(n))
}

// renew writes the lease, and makes it when there is none. What became of a write that
// was cut off is not known: the lease is then read and written again.
func (f *Fleet) renew(ctx context.Context, n *node) error {
	err := f.hold(ctx, n)
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		var got coordinationv1.Lease
		err = as(n, f.client.CoordinationV1().RESTClient().Get().Namespace(corev1.NamespaceNodeLease).Resource("leases").Name(n.name)).Do(ctx).Into(&got)
		if err == nil {
			n.version = got.ResourceVersion
			err = f.hold(ctx, n)
		}
	}
	if err != nil {
		return fmt.Errorf("renew lease of %s: %w", n.name, err)
	}
	return nil
}

func (f *Fleet) hold(ctx context.Context, n *node) error {
	now, seconds := metav1.NowMicro(), int32(40)
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: n.name, Namespace: corev1.NamespaceNodeLease, ResourceVersion: n.version},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &n.name, LeaseDurationSeconds: &seconds, RenewTime: &now},
	}
	client := f.client.CoordinationV1().RESTClient()
	request := client.Put().Name(n.name)
	if n.version == "" {
		request = client.Post()
	}
	var got coordinationv1.Lease
	err := as(n, request.Namespace(corev1.NamespaceNodeLease).Resource("leases")).Body(lease).Do(ctx).Into(&got)
	if err == nil {
		n.version = got.ResourceVersion
	}
	return err
}

// report says that the node is well. When it became so is said only where it was taken
// for dead: else that is long ago.
func (f *Fleet) report(ctx context.Context, n *node) error {
	var said []any
	for _, c := range conditions() {
		one := map[string]any{"type": c.Type, "status": c.Status, "reason": c.Reason, "message": c.Message, "lastHeartbeatTime": c.LastHeartbeatTime}
		if n.dead.Load() {
			one["lastTransitionTime"] = c.LastTransitionTime
		}
		said = append(said, one)
	}
	return f.patch(ctx, n, "nodes", "", n.name, map[string]any{"status": map[string]any{"conditions": said}})
}

func (f *Fleet) patch(ctx context.Context, n *node, resource, namespace, name string, change any) error {
	data, err := json.Marshal(change)
	if err != nil {
		return fmt.Errorf("encode status of %s: %w", name, err)
	}
	request := f.client.CoreV1().RESTClient().Patch(types.StrategicMergePatchType).Resource(resource).Name(name).SubResource("status")
	err = as(n, request.NamespaceIfScoped(namespace, namespace != "")).Body(data).Do(ctx).Error()
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("patch status of %s: %w", name, err)
	}
	return nil
}

// run says that all containers of a pod run and are ready.
func (f *Fleet) run(ctx context.Context, n *node, p identity) error {
	now := metav1.Now()
	condition := func(kind corev1.PodConditionType) map[string]any {
		return map[string]any{"type": kind, "status": "True", "lastTransitionTime": now}
	}
	var containers []corev1.ContainerStatus
	yes := true
	for _, c := range p.containers {
		containers = append(containers, corev1.ContainerStatus{
			Name: c.name, Image: c.image, ImageID: c.image, ContainerID: "hollow://" + string(p.uid), Ready: true, Started: &yes,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		})
	}
	ip := podAddress(p.uid)
	return f.patch(ctx, n, "pods", p.namespace, p.name, map[string]any{
		"metadata": map[string]any{"uid": p.uid},
		"status": map[string]any{
			"phase": corev1.PodRunning, "startTime": now, "hostIP": address(10, n.number), "podIP": ip,
			"podIPs": []any{map[string]any{"ip": ip}}, "containerStatuses": containers,
			"conditions": []any{condition("PodReadyToStartContainers"), condition(corev1.PodInitialized),
				condition(corev1.PodReady), condition(corev1.ContainersReady)},
		},
	})
}

// podAddress is as good as unique.
func podAddress(uid types.UID) string {
	sum := 0
	for _, b := range []byte(uid) {
		sum = (sum*31 + int(b)) & 0xffffff
	}
	return address(11, sum)
}

func (f *Fleet) end(ctx context.Context, n *node, p identity) error {
	none := int64(0)
	options := &metav1.DeleteOptions{GracePeriodSeconds: &none, Preconditions: &metav1.Preconditions{UID: &p.uid}}
	request := f.client.CoreV1().RESTClient().Delete().Namespace(p.namespace).Resource("pods").Name(p.name)
	err := as(n, request).Body(options).Do(ctx).Error()
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete pod %s: %w", p.name, err)
	}
	return nil
}
