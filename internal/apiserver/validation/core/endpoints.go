package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
)

// Endpoints checks new endpoints.
//
//lint:ignore SA1019 served until Kubernetes drops it
func Endpoints(e *corev1.Endpoints) field.ErrorList {
	l := check.List{Errors: check.ObjectMeta(&e.ObjectMeta, true, apivalidation.NameIsDNSSubdomain)}
	for i := range e.Subsets {
		s, at := &e.Subsets[i], field.NewPath("subsets").Index(i)
		if len(s.Addresses) == 0 && len(s.NotReadyAddresses) == 0 {
			l.Required(at, "must specify `addresses` or `notReadyAddresses`")
		}
		for j := range s.Addresses {
			endpointAddress(&l, &s.Addresses[j], at.Child("addresses").Index(j))
		}
		for j := range s.NotReadyAddresses {
			endpointAddress(&l, &s.NotReadyAddresses[j], at.Child("notReadyAddresses").Index(j))
		}
		for j := range s.Ports {
			endpointPort(&l, &s.Ports[j], len(s.Ports) > 1, at.Child("ports").Index(j))
		}
	}
	return l.Errors
}

// EndpointsUpdate checks changed endpoints.
//
//lint:ignore SA1019 served until Kubernetes drops it
func EndpointsUpdate(e, old *corev1.Endpoints) field.ErrorList {
	return append(check.ObjectMetaUpdate(&e.ObjectMeta, &old.ObjectMeta), Endpoints(e)...)
}

func endpointAddress(l *check.List, a *corev1.EndpointAddress, path *field.Path) {
	l.IP(path.Child("ip"), a.IP)
	if a.Hostname != "" {
		l.Label(path.Child("hostname"), a.Hostname)
	}
	if n := a.NodeName; n != nil {
		l.Subdomain(path.Child("nodeName"), *n)
	}
	l.EndpointIP(path.Child("ip"), a.IP)
}

func endpointPort(l *check.List, p *corev1.EndpointPort, named bool, path *field.Path) {
	if p.Name == "" && named {
		l.Required(path.Child("name"), "")
	} else if p.Name != "" {
		l.Label(path.Child("name"), p.Name)
	}
	l.Messages(path.Child("port"), p.Port, validation.IsValidPortNum(int(p.Port)))
	l.Protocol(path.Child("protocol"), p.Protocol)
	if p.AppProtocol != nil {
		l.QualifiedName(path.Child("appProtocol"), *p.AppProtocol)
	}
}
