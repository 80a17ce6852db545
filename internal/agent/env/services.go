package env

import (
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// apiService is the service whose variables every pod gets: in-cluster clients
// read them.
const apiService = "kubernetes"

// serviceVars are the variables that tell of services: the API's own, and with
// links those of the pod's namespace.
func (m *Maker) serviceVars(namespace string, links bool) map[string]string {
	vars := map[string]string{}
	for _, service := range m.options.Services(metav1.NamespaceDefault) {
		if service.Name == apiService && service.Namespace == metav1.NamespaceDefault {
			describe(vars, &service)
		}
	}
	if !links {
		return vars
	}
	for _, service := range m.options.Services(namespace) {
		if service.Namespace == namespace {
			describe(vars, &service)
		}
	}
	return vars
}

// describe adds one service's variables, first Kubernetes' own form, then that
// of Docker's links.
func describe(vars map[string]string, service *corev1.Service) {
	ip := service.Spec.ClusterIP
	if ip == "" || ip == corev1.ClusterIPNone || len(service.Spec.Ports) == 0 {
		return
	}
	name := variableName(service.Name)
	vars[name+"_SERVICE_HOST"] = ip
	vars[name+"_SERVICE_PORT"] = strconv.Itoa(int(service.Spec.Ports[0].Port))
	for _, port := range service.Spec.Ports {
		number := strconv.Itoa(int(port.Port))
		if port.Name != "" {
			vars[name+"_SERVICE_PORT_"+variableName(port.Name)] = number
		}
		protocol := string(port.Protocol)
		if protocol == "" {
			protocol = string(corev1.ProtocolTCP)
		}
		url := strings.ToLower(protocol) + "://" + net.JoinHostPort(ip, number)
		if _, ok := vars[name+"_PORT"]; !ok {
			vars[name+"_PORT"] = url
		}
		prefix := name + "_PORT_" + number + "_" + strings.ToUpper(protocol)
		vars[prefix] = url
		vars[prefix+"_PROTO"] = strings.ToLower(protocol)
		vars[prefix+"_PORT"] = number
		vars[prefix+"_ADDR"] = ip
	}
}

func variableName(s string) string {
	return strings.ToUpper(strings.ReplaceAll(s, "-", "_"))
}
