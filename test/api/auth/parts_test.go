package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

// may is a right to objects of any names, or to those named only.
func may(verbs, group, resource string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: strings.Fields(verbs), APIGroups: []string{group}, Resources: []string{resource}, ResourceNames: names}
}

// faulty wants a write to be refused as an object with a fault that says so.
func faulty(err error, part string) error {
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), part) {
		return fmt.Errorf("got %v, want a fault that says %q", err, part)
	}
	return nil
}

// TestPodSigners lets users write the status of requests, who are not all allowed
// to sign.
func TestPodSigners(t *testing.T) {
	s := apitest.Start(t)
	ctx := t.Context()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	seconds := int32(86400)
	admin := s.Clientset().CertificatesV1().PodCertificateRequests(namespace)
	must[*certificatesv1.PodCertificateRequest](t)(admin.Create(ctx, &certificatesv1.PodCertificateRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "r"},
		Spec: certificatesv1.PodCertificateRequestSpec{
			SignerName: "example.com/signer", PodName: "p", PodUID: "1", ServiceAccountName: "default", ServiceAccountUID: "2",
			NodeName: "n", NodeUID: "3", MaxExpirationSeconds: &seconds,
			StubPKCS10Request: must[[]byte](t)(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)),
		},
	}, metav1.CreateOptions{}))
	writes := may("get update", certificatesv1.GroupName, "podcertificaterequests/status")
	allow(t, s, "nobody", writes)
	allow(t, s, "other", writes, may("sign", certificatesv1.GroupName, "signers", "example.com/other"))
	allow(t, s, "signer", writes, may("sign", certificatesv1.GroupName, "signers", "example.com/signer"))
	allow(t, s, "domain", writes, may("sign", certificatesv1.GroupName, "signers", "example.com/*"))
	deny := func(user string) error {
		r := must[*certificatesv1.PodCertificateRequest](t)(admin.Get(ctx, "r", metav1.GetOptions{}))
		r.Status.Conditions = []metav1.Condition{{
			Type: certificatesv1.PodCertificateRequestConditionTypeDenied, Status: metav1.ConditionTrue, Reason: "No", LastTransitionTime: metav1.Now(),
		}}
		_, err := s.ClientsetAs(user).CertificatesV1().PodCertificateRequests(namespace).UpdateStatus(ctx, r, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	for _, user := range []string{"nobody", "other"} {
		eventually(t, func() error {
			return faulty(deny(user), fmt.Sprintf(`spec.signerName: Forbidden: User %q is not permitted to "sign" for signer "example.com/signer"`, user))
		})
	}
	for _, user := range []string{"signer", "domain"} {
		eventually(t, func() error { return deny(user) })
	}
}

// TestPartsOfClaims writes the parts of a claim's status as those whom they belong
// to and as others.
func TestPartsOfClaims(t *testing.T) {
	s := apitest.Start(t)
	ctx := t.Context()
	const group, binding, driver = resourcev1.GroupName, `"resourceclaims/binding", verb="update"`, `"resourceclaims/driver", verb="[arbitrary-node:update]"`
	must[*resourcev1.ResourceClaim](t)(s.Clientset().ResourceV1().ResourceClaims(namespace).Create(ctx, &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "c"},
		Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
			{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "class"}},
		}}},
	}, metav1.CreateOptions{}))
	const account = "system:serviceaccount:default:driver"
	for _, user := range []string{"ann", account} {
		allow(t, s, user, may("get update", group, "resourceclaims/status"))
	}
	allow(t, s, account, may("associated-node:update", group, "resourceclaims/driver", "a.example.com"))
	on := func(node string) kubernetes.Interface {
		return client(t, impersonating(s.Config, rest.ImpersonationConfig{
			UserName: account, Extra: map[string][]string{"authentication.kubernetes.io/node-name": {node}},
		}))
	}
	ann, scheduler, controller := s.ClientsetAs("ann"), s.ClientsetAs("system:kube-scheduler"), s.ClientsetAs("system:serviceaccount:kube-system:resource-claim-controller")

	eventually(t, func() error { return faulty(changeClaim(ctx, s, ann, allocate), binding) })
	eventually(t, func() error { return changeClaim(ctx, s, scheduler, allocate) })
	if err := faulty(changeClaim(ctx, s, ann, release), binding); err != nil {
		t.Error(err)
	}
	eventually(t, func() error { return faulty(changeClaim(ctx, s, ann, tell("a.example.com")), driver) })
	if err := faulty(changeClaim(ctx, s, scheduler, tell("a.example.com")), driver); err != nil {
		t.Errorf("the scheduler is no driver: %v", err)
	}
	eventually(t, func() error { return changeClaim(ctx, s, on("here"), tell("a.example.com")) })
	for name, err := range map[string]error{
		"another node":   faulty(changeClaim(ctx, s, on("there"), tell()), driver),
		"another driver": faulty(changeClaim(ctx, s, on("here"), tell("a.example.com", "b.example.com")), `verb="[associated-node:update arbitrary-node:update]"`),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	eventually(t, func() error { return changeClaim(ctx, s, controller, release) })
}

// changeClaim writes the status of the claim as it is, with a change.
func changeClaim(ctx context.Context, s *apitest.Server, as kubernetes.Interface, change func(*resourcev1.ResourceClaimStatus)) error {
	claim, err := s.Clientset().ResourceV1().ResourceClaims(namespace).Get(ctx, "c", metav1.GetOptions{})
	if err != nil {
		return err
	}
	change(&claim.Status)
	_, err = as.ResourceV1().ResourceClaims(namespace).UpdateStatus(ctx, claim, metav1.UpdateOptions{})
	return err
}

// allocate gives a claim a device of each of two drivers, for one pod.
func allocate(s *resourcev1.ResourceClaimStatus) {
	s.Allocation = &resourcev1.AllocationResult{NodeSelector: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchFields: []corev1.NodeSelectorRequirement{{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{"here"}}},
	}}}}
	for _, driver := range []string{"a.example.com", "b.example.com"} {
		s.Allocation.Devices.Results = append(s.Allocation.Devices.Results, resourcev1.DeviceRequestAllocationResult{
			Request: "r", Driver: driver, Pool: "p", Device: "d",
		})
	}
	s.ReservedFor = []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: "p", UID: "1"}}
}

func release(s *resourcev1.ResourceClaimStatus) { s.Allocation, s.ReservedFor = nil, nil }

// tell writes what drivers know of their devices.
func tell(drivers ...string) func(*resourcev1.ResourceClaimStatus) {
	return func(s *resourcev1.ResourceClaimStatus) {
		s.Devices = nil
		for _, driver := range drivers {
			s.Devices = append(s.Devices, resourcev1.AllocatedDeviceStatus{Driver: driver, Pool: "p", Device: "d"})
		}
	}
}
