package columns

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// Service columns.
func Service() []metav1.TableColumnDefinition {
	spec := corev1.ServiceSpec{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		Name(),
		Text("Type", spec["type"]),
		Text("Cluster-IP", spec["clusterIP"]),
		Text("External-IP", spec["externalIPs"]),
		Text("Port(s)", spec["ports"]),
		Age(),
		Wide(Text("Selector", spec["selector"])),
	}
}

// ServiceCells fills the columns of Service.
func ServiceCells(obj runtime.Object) []any {
	s := obj.(*corev1.Service)
	clusterIP := none
	if len(s.Spec.ClusterIPs) > 0 {
		clusterIP = s.Spec.ClusterIPs[0]
	}
	return []any{
		s.Name, string(s.Spec.Type), clusterIP, serviceAddress(s), OrNone(servicePorts(s.Spec.Ports)),
		Since(s.CreationTimestamp), labels.FormatLabels(s.Spec.Selector),
	}
}

// serviceAddress is where a service is reached from outside.
func serviceAddress(s *corev1.Service) string {
	external := strings.Join(s.Spec.ExternalIPs, ",")
	switch s.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
		return OrNone(external)
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	case corev1.ServiceTypeLoadBalancer:
		all := loadBalancerAddresses(s)
		if external != "" {
			all = append(all, external)
		}
		return or(strings.Join(all, ","), "<pending>")
	}
	return unknown
}

func loadBalancerAddresses(s *corev1.Service) []string {
	var out []string
	for _, ingress := range s.Status.LoadBalancer.Ingress {
		if address := or(ingress.IP, ingress.Hostname); address != "" {
			out = append(out, address)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func servicePorts(ports []corev1.ServicePort) string {
	out := make([]string, len(ports))
	for i, p := range ports {
		if p.NodePort > 0 {
			out[i] = fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol)
		} else {
			out[i] = fmt.Sprintf("%d/%s", p.Port, p.Protocol)
		}
	}
	return strings.Join(out, ",")
}
