package controllers_test

import (
	"fmt"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// readyNode makes a node that is ready and has an address.
func (e *env) readyNode(name, address string) {
	e.Helper()
	node := e.node(name)
	changeStatus(e, node, func(n *corev1.Node) {
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	})
}

func (e *env) awaitIngress(service, want string) {
	e.Helper()
	e.eventually("addresses of "+service, func() error {
		s := &corev1.Service{ObjectMeta: meta(service)}
		if err := e.Get(e.ctx, client.ObjectKeyFromObject(s), s); err != nil {
			return err
		}
		got := ""
		for _, in := range s.Status.LoadBalancer.Ingress {
			got += in.IP + " "
		}
		if got != want {
			return fmt.Errorf("%q, want %q", got, want)
		}
		return nil
	})
}

func TestLoadBalancer(t *testing.T) {
	e := start(t)
	e.readyNode("n1", "10.1.0.1")
	balancer := func(name string, class *string) *corev1.Service {
		return &corev1.Service{ObjectMeta: meta(name), Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}, LoadBalancerClass: class,
		}}
	}
	other := "example.com/metal"
	e.create(balancer("theirs", &other), balancer("ours", nil))
	e.awaitIngress("ours", "10.1.0.1 ")
	e.readyNode("n2", "10.1.0.2")
	e.awaitIngress("ours", "10.1.0.1 10.1.0.2 ")
	e.awaitIngress("theirs", "")

	second := balancer("second", nil)
	e.create(second)
	e.eventually("refusal", func() error {
		var list corev1.EventList
		if err := e.List(e.ctx, &list, client.InNamespace("default")); err != nil {
			return err
		}
		for _, event := range list.Items {
			if event.InvolvedObject.Name == "second" && event.Reason == "SyncLoadBalancerFailed" {
				return nil
			}
		}
		return fmt.Errorf("%d events", len(list.Items))
	})
	e.awaitIngress("second", "")
	change(e, &corev1.Service{ObjectMeta: meta("ours")}, func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeClusterIP
		s.Spec.AllocateLoadBalancerNodePorts = nil
		s.Spec.ExternalTrafficPolicy = ""
		s.Spec.Ports[0].NodePort = 0
	})
	e.awaitIngress("ours", "")
	e.awaitIngress("second", "10.1.0.1 10.1.0.2 ")
}

func TestNodeTTL(t *testing.T) {
	e := start(t)
	node := e.node("n1")
	e.eventually("annotation", func() error {
		if get(e, node).Annotations[corev1.ObjectTTLAnnotationKey] != "0" {
			return fmt.Errorf("annotations %v", node.Annotations)
		}
		return nil
	})
}

func TestResourceClaims(t *testing.T) {
	e := start(t)
	template := "gpus"
	pod := &corev1.Pod{
		ObjectMeta: meta("p"),
		Spec: corev1.PodSpec{
			Containers:     []corev1.Container{{Name: "c", Image: "i", Resources: corev1.ResourceRequirements{Claims: []corev1.ResourceClaim{{Name: "gpu"}}}}},
			ResourceClaims: []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimTemplateName: &template}},
		},
	}
	e.create(pod)
	e.create(&resourcev1.ResourceClaimTemplate{ObjectMeta: meta(template), Spec: resourcev1.ResourceClaimTemplateSpec{
		Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{
			Name: "one", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu.example.com"},
		}}}},
	}})
	claim := &resourcev1.ResourceClaim{}
	e.eventually("claim", func() error {
		statuses := get(e, pod).Status.ResourceClaimStatuses
		if len(statuses) != 1 || statuses[0].ResourceClaimName == nil {
			return fmt.Errorf("statuses %+v", statuses)
		}
		return e.Get(e.ctx, client.ObjectKey{Namespace: "default", Name: *statuses[0].ResourceClaimName}, claim)
	})
	if !metav1.IsControlledBy(claim, pod) || claim.Spec.Devices.Requests[0].Name != "one" {
		t.Errorf("claim: %+v", claim)
	}
	change(e, claim, func(c *resourcev1.ResourceClaim) { c.Finalizers = append(c.Finalizers, resourcev1.Finalizer) })
	changeStatus(e, claim, func(c *resourcev1.ResourceClaim) {
		c.Status.Allocation = &resourcev1.AllocationResult{}
		c.Status.ReservedFor = []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: pod.Name, UID: pod.UID}}
	})
	if err := e.Delete(e.ctx, pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	e.gone(claim)
	var all resourcev1.ResourceClaimList
	if err := e.List(e.ctx, &all); err != nil || len(all.Items) != 0 {
		t.Errorf("claims left: %v, %v", all.Items, err)
	}
}

func TestPolicyStatus(t *testing.T) {
	e := start(t)
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "replicas"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{"CREATE"},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments"}},
				},
			}}},
			Validations: []admissionregistrationv1.Validation{{Expression: "object.spec.replicas > '1'"}, {Expression: "object.spec.replicas > 1"}},
		},
	}
	e.create(policy)
	e.eventually("status", func() error {
		status := get(e, policy).Status
		if status.ObservedGeneration != policy.Generation || status.TypeChecking == nil {
			return fmt.Errorf("status %+v", status)
		}
		return nil
	})
	warnings := policy.Status.TypeChecking.ExpressionWarnings
	if len(warnings) != 1 || warnings[0].FieldRef != "spec.validations[0].expression" {
		t.Errorf("warnings: %+v", warnings)
	}
}

// TestOutOfService: pods told to end on a node that is off end without it.
func TestOutOfService(t *testing.T) {
	e := start(t)
	node := e.node("off")
	pod := &corev1.Pod{ObjectMeta: meta("p"), Spec: corev1.PodSpec{NodeName: "off", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	e.create(pod)
	if err := e.Delete(e.ctx, pod); err != nil {
		t.Fatal(err)
	}
	if get(e, pod).DeletionTimestamp == nil {
		t.Fatal("the pod does not wait for its node")
	}
	change(e, node, func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: corev1.TaintNodeOutOfService, Value: "nodeshutdown", Effect: corev1.TaintEffectNoExecute})
	})
	e.gone(pod)
}
