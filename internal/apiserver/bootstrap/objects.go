package bootstrap

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// The kubernetes service, by which pods reach this server.
const (
	serviceName = "kubernetes"
	servicePort = 443
	portName    = "https"
)

func systemNamespaces() []string {
	return []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease}
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func kubernetesService(clusterIP netip.Addr, port int32) *corev1.Service {
	single := corev1.IPFamilyPolicySingleStack
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: serviceName, Namespace: metav1.NamespaceDefault,
			Labels: map[string]string{"component": "apiserver", "provider": "kubernetes"},
		},
		Spec: corev1.ServiceSpec{
			ClusterIP:       clusterIP.String(),
			IPFamilyPolicy:  &single,
			SessionAffinity: corev1.ServiceAffinityNone,
			Type:            corev1.ServiceTypeClusterIP,
			Ports: []corev1.ServicePort{{
				Name: portName, Protocol: corev1.ProtocolTCP, Port: servicePort, TargetPort: intstr.FromInt32(port),
			}},
		},
	}
}

func family(ip netip.Addr) corev1.IPFamily {
	if ip.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// kubernetesEndpoints is the slice in the older form that clients still read.
//
//lint:ignore SA1019 the deprecated kind is served like any other
func kubernetesEndpoints(server netip.Addr, port int32) *corev1.Endpoints {
	//lint:ignore SA1019 see above
	return &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{
			Name: serviceName, Namespace: metav1.NamespaceDefault,
			// The slice is this server's own work.
			Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"},
		},
		//lint:ignore SA1019 see above
		Subsets: []corev1.EndpointSubset{{
			Addresses: []corev1.EndpointAddress{{IP: server.String()}},
			Ports:     []corev1.EndpointPort{{Name: portName, Port: port, Protocol: corev1.ProtocolTCP}},
		}},
	}
}

func kubernetesSlice(server netip.Addr, port int32) *discoveryv1.EndpointSlice {
	ready, name, protocol := true, portName, corev1.ProtocolTCP
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: serviceName, Namespace: metav1.NamespaceDefault,
			Labels: map[string]string{discoveryv1.LabelServiceName: serviceName},
		},
		AddressType: discoveryv1.AddressType(family(server)),
		Endpoints: []discoveryv1.Endpoint{{
			Addresses:  []string{server.String()},
			Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		}},
		Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
	}
}

func priorityClasses() []*schedulingv1.PriorityClass {
	class := func(name string, value int32, what string) *schedulingv1.PriorityClass {
		return &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value, Description: what}
	}
	return []*schedulingv1.PriorityClass{
		class("system-node-critical", 2_000_001_000, "Used for system critical pods that must not be moved from their current node."),
		class("system-cluster-critical", 2_000_000_000, "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."),
	}
}

func serviceNetwork(cidr netip.Prefix) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: serviceName},
		Spec:       networkingv1.ServiceCIDRSpec{CIDRs: []string{cidr.Masked().String()}},
	}
}

// clusterInfo tells a node that would join where this server is and which CA it
// has. Everybody may read it; the signatures that controllers add are what makes
// it worth believing.
func clusterInfo(server netip.AddrPort, ca []byte) (*corev1.ConfigMap, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters[""] = &clientcmdapi.Cluster{Server: "https://" + server.String(), CertificateAuthorityData: ca}
	data, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("write cluster-info: %w", err)
	}
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "cluster-info", Namespace: metav1.NamespacePublic},
		Data:       map[string]string{"kubeconfig": string(data)},
	}, nil
}

// extensionTrust is what an extension API server must know: whose client
// certificates hold here, and how this server speaks for its users.
func extensionTrust(clientCA, proxyCA []byte, proxyNames []string) *corev1.ConfigMap {
	list := func(values ...string) string {
		data, _ := json.Marshal(values) // strings always encode
		return string(data)
	}
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "extension-apiserver-authentication", Namespace: metav1.NamespaceSystem},
		Data: map[string]string{
			"client-ca-file":                     string(clientCA),
			"requestheader-client-ca-file":       string(proxyCA),
			"requestheader-allowed-names":        list(proxyNames...),
			"requestheader-username-headers":     list("X-Remote-User"),
			"requestheader-uid-headers":          list("X-Remote-Uid"),
			"requestheader-group-headers":        list("X-Remote-Group"),
			"requestheader-extra-headers-prefix": list("X-Remote-Extra-"),
		},
	}
}

// tokenTracking says since which day it is recorded when the tokens in secrets
// are used: what shuts unused ones off must know how far back the record goes.
func tokenTracking(day string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "kube-apiserver-legacy-service-account-token-tracking", Namespace: metav1.NamespaceSystem},
		Data:       map[string]string{trackedSince: day},
	}
}

// trackedSince is the key of the day in it.
const trackedSince = "since"

// isDay says whether the value is a day as records of tokens write it.
func isDay(value string) bool {
	_, err := time.Parse(time.DateOnly, value)
	return err == nil
}
