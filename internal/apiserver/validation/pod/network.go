package pod

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
)

// What the resolver of a container can take.
const (
	maxNameservers = 3
	maxSearches    = 32
	maxSearchChars = 2048
)

func dnsConfig(l *check.List, s *corev1.PodSpec, path *field.Path) {
	c := s.DNSConfig
	if s.DNSPolicy == corev1.DNSNone {
		if c == nil {
			l.Required(path, fmt.Sprintf("must provide `dnsConfig` when `dnsPolicy` is %s", corev1.DNSNone))
			return
		}
		if len(c.Nameservers) == 0 {
			l.Required(path.Child("nameservers"), fmt.Sprintf("must provide at least one DNS nameserver when `dnsPolicy` is %s", corev1.DNSNone))
			return
		}
	}
	if c == nil {
		return
	}
	if len(c.Nameservers) > maxNameservers {
		l.Invalid(path.Child("nameservers"), c.Nameservers, fmt.Sprintf("must not have more than %v nameservers", maxNameservers))
	}
	for i, ns := range c.Nameservers {
		l.IP(path.Child("nameservers").Index(i), ns)
	}
	searches := path.Child("searches")
	if len(c.Searches) > maxSearches {
		l.Invalid(searches, c.Searches, fmt.Sprintf("must not have more than %v search paths", maxSearches))
	}
	if len(strings.Join(c.Searches, " ")) > maxSearchChars {
		l.Invalid(searches, c.Searches, fmt.Sprintf("must not have more than %v characters (including spaces) in the search list", maxSearchChars))
	}
	for i, search := range c.Searches {
		if search != "." {
			search = strings.TrimSuffix(search, ".")
			l.Messages(searches.Index(i), search, validation.IsDNS1123SubdomainWithUnderscore(search))
		}
	}
	for i, option := range c.Options {
		if option.Name == "" {
			l.Required(path.Child("options").Index(i), "must not be empty")
		}
	}
}

func hostAliases(l *check.List, aliases []corev1.HostAlias, path *field.Path) {
	for i := range aliases {
		at := path.Index(i)
		l.IP(at.Child("ip"), aliases[i].IP)
		for j, name := range aliases[i].Hostnames {
			l.Subdomain(at.Child("hostnames").Index(j), name)
		}
	}
}

// hostPorts checks that on the host's network a port is the host's port. In a
// template it may be left open: the pod gets it by default.
func hostPorts(l *check.List, s *corev1.PodSpec, real bool, path *field.Path) {
	if !s.HostNetwork {
		return
	}
	for i := range s.Containers {
		for j, p := range s.Containers[i].Ports {
			if (real || p.HostPort != 0) && p.HostPort != p.ContainerPort {
				l.Invalid(path.Index(i).Child("ports").Index(j).Child("hostPort"), p.HostPort, "must match `containerPort` when `hostNetwork` is true")
			}
		}
	}
}

func containerPorts(l *check.List, ports []corev1.ContainerPort, path *field.Path) {
	names := sets.New[string]()
	for i := range ports {
		p, at := &ports[i], path.Index(i)
		if p.Name != "" {
			messages := validation.IsValidPortName(p.Name)
			switch {
			case len(messages) > 0:
				l.Messages(at.Child("name"), p.Name, messages)
			case names.Has(p.Name):
				l.Duplicate(at.Child("name"), p.Name)
			default:
				names.Insert(p.Name)
			}
		}
		if p.ContainerPort == 0 {
			l.Required(at.Child("containerPort"), "")
		} else {
			l.Messages(at.Child("containerPort"), p.ContainerPort, validation.IsValidPortNum(int(p.ContainerPort)))
		}
		if p.HostPort != 0 {
			l.Messages(at.Child("hostPort"), p.HostPort, validation.IsValidPortNum(int(p.HostPort)))
		}
		l.Protocol(at.Child("protocol"), p.Protocol)
	}
}

// uniqueHostPorts refuses a port of the host that two containers want.
func uniqueHostPorts(l *check.List, containers []corev1.Container, path *field.Path) {
	taken := sets.New[string]()
	for i := range containers {
		for j, p := range containers[i].Ports {
			if p.HostPort == 0 {
				continue
			}
			key := fmt.Sprintf("%s/%s/%d", p.Protocol, p.HostIP, p.HostPort)
			if taken.Has(key) {
				l.Duplicate(path.Index(i).Child("ports").Index(j).Child("hostPort"), key)
			}
			taken.Insert(key)
		}
	}
}
