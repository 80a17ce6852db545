package spec

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Limits of resolv.conf, as kubelet applies them.
const (
	maxNameservers = 3
	maxSearches    = 32
	maxSearchChars = 2048
)

// DNS is how names are resolved on the node and in the cluster.
type DNS struct {
	// Servers are the cluster's; without any, pods resolve as the node does.
	Servers []string
	// Domain is the cluster's.
	Domain string
	// Node is the node's own configuration.
	Node Resolver
}

// Resolver is the content of a resolv.conf.
type Resolver struct {
	Servers, Searches, Options []string
}

// ParseResolver reads a resolv.conf; what it does not know it passes over.
func ParseResolver(text string) Resolver {
	var r Resolver
	for line := range strings.Lines(text) {
		if i := strings.IndexAny(line, "#;"); i >= 0 {
			line = line[:i]
		}
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			r.Servers = append(r.Servers, fields[1])
		case "search":
			// The last one holds. A dot at the end means nothing to a search.
			r.Searches = nil
			for _, search := range fields[1:] {
				if search != "." {
					search = strings.TrimSuffix(search, ".")
				}
				r.Searches = append(r.Searches, search)
			}
		case "options":
			r.Options = append(r.Options, fields[1:]...)
		}
	}
	return r
}

// For returns a pod's resolver.
func (d DNS) For(pod *corev1.Pod) *cri.DNSConfig {
	r := d.base(pod)
	if extra := pod.Spec.DNSConfig; extra != nil {
		r.Servers = union(r.Servers, extra.Nameservers)
		r.Searches = union(r.Searches, extra.Searches)
		r.Options = mergeOptions(r.Options, extra.Options)
	}
	if len(r.Servers) > maxNameservers {
		r.Servers = r.Servers[:maxNameservers]
	}
	return &cri.DNSConfig{Servers: r.Servers, Searches: fit(r.Searches), Options: r.Options}
}

func (d DNS) base(pod *corev1.Pod) Resolver {
	policy := pod.Spec.DNSPolicy
	switch {
	case policy == corev1.DNSNone:
		return Resolver{}
	case policy == corev1.DNSDefault, policy == corev1.DNSClusterFirst && pod.Spec.HostNetwork, len(d.Servers) == 0:
		return Resolver{Servers: slices.Clone(d.Node.Servers), Searches: slices.Clone(d.Node.Searches), Options: slices.Clone(d.Node.Options)}
	}
	r := Resolver{Servers: slices.Clone(d.Servers), Options: []string{"ndots:5"}}
	if d.Domain != "" {
		r.Searches = []string{pod.Namespace + ".svc." + d.Domain, "svc." + d.Domain, d.Domain}
	}
	r.Searches = union(r.Searches, d.Node.Searches)
	return r
}

func union(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}

func mergeOptions(base []string, extra []corev1.PodDNSConfigOption) []string {
	for _, option := range extra {
		text := option.Name
		if option.Value != nil {
			text += ":" + *option.Value
		}
		base = slices.DeleteFunc(base, func(have string) bool {
			name, _, _ := strings.Cut(have, ":")
			return name == option.Name
		})
		base = append(base, text)
	}
	return base
}

func fit(searches []string) []string {
	length := 0
	for i, search := range searches {
		length += len(search) + 1
		if i == maxSearches || length-1 > maxSearchChars {
			return searches[:i]
		}
	}
	return searches
}
