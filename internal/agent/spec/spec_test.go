package spec

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/agent/observed"
)

func pod(change func(*corev1.PodSpec)) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "i"}}}}
	p.Name, p.Namespace, p.UID = "web", "shop", "u1"
	if change != nil {
		change(&p.Spec)
	}
	return p
}

func to[T any](v T) *T { return &v }

func TestDNS(t *testing.T) {
	d := DNS{Servers: []string{"10.43.0.10"}, Domain: "cluster.local", Node: ParseResolver("# a comment\nnameserver 1.1.1.1\nnameserver 8.8.8.8\nsearch corp.example. lab.example\noptions rotate\n")}
	cluster := []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example", "lab.example"}
	tests := []struct {
		name   string
		dns    DNS
		change func(*corev1.PodSpec)
		want   *cri.DNSConfig
	}{
		{"cluster first", d, func(s *corev1.PodSpec) { s.DNSPolicy = corev1.DNSClusterFirst },
			&cri.DNSConfig{Servers: []string{"10.43.0.10"}, Searches: cluster, Options: []string{"ndots:5"}}},
		{"on the host's network", d, func(s *corev1.PodSpec) { s.DNSPolicy, s.HostNetwork = corev1.DNSClusterFirst, true },
			&cri.DNSConfig{Servers: []string{"1.1.1.1", "8.8.8.8"}, Searches: []string{"corp.example", "lab.example"}, Options: []string{"rotate"}}},
		{"on the host's network and yet", d, func(s *corev1.PodSpec) { s.DNSPolicy, s.HostNetwork = corev1.DNSClusterFirstWithHostNet, true },
			&cri.DNSConfig{Servers: []string{"10.43.0.10"}, Searches: cluster, Options: []string{"ndots:5"}}},
		{"default", d, func(s *corev1.PodSpec) { s.DNSPolicy = corev1.DNSDefault },
			&cri.DNSConfig{Servers: []string{"1.1.1.1", "8.8.8.8"}, Searches: []string{"corp.example", "lab.example"}, Options: []string{"rotate"}}},
		{"none but its own", d, func(s *corev1.PodSpec) {
			s.DNSPolicy, s.DNSConfig = corev1.DNSNone, &corev1.PodDNSConfig{Nameservers: []string{"9.9.9.9"}, Searches: []string{"x"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: to("2")}, {Name: "edns0"}}}
		}, &cri.DNSConfig{Servers: []string{"9.9.9.9"}, Searches: []string{"x"}, Options: []string{"ndots:2", "edns0"}}},
		{"its own besides", d, func(s *corev1.PodSpec) {
			s.DNSPolicy, s.DNSConfig = corev1.DNSClusterFirst, &corev1.PodDNSConfig{Nameservers: []string{"9.9.9.9", "10.43.0.10"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: to("2")}}}
		}, &cri.DNSConfig{Servers: []string{"10.43.0.10", "9.9.9.9"}, Searches: cluster, Options: []string{"ndots:2"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := test.dns.For(pod(test.change))
			if !slices.Equal(got.Servers, test.want.Servers) || !slices.Equal(got.Searches, test.want.Searches) || !slices.Equal(got.Options, test.want.Options) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func FuzzParseResolver(f *testing.F) {
	f.Add("nameserver 1.1.1.1\nsearch a b\noptions x")
	f.Fuzz(func(t *testing.T, text string) {
		r := ParseResolver(text)
		for _, word := range slices.Concat(r.Servers, r.Searches, r.Options) {
			if strings.ContainsAny(word, " \t\n") {
				t.Errorf("%q is no word", word)
			}
		}
	})
}

func TestHosts(t *testing.T) {
	p := pod(func(s *corev1.PodSpec) {
		s.Hostname, s.Subdomain = "db", "store"
		s.HostAliases = []corev1.HostAlias{{IP: "1.2.3.4", Hostnames: []string{"x", "y"}}}
	})
	got := Hosts(p, []string{"10.42.0.7"}, "cluster.local", "")
	for _, want := range []string{"127.0.0.1\tlocalhost\n", "10.42.0.7\tdb.store.shop.svc.cluster.local\tdb\n", "1.2.3.4\tx\ty\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("hosts lack %q:\n%s", want, got)
		}
	}
	p.Spec.HostNetwork = true
	if got := Hosts(p, nil, "cluster.local", "127.0.0.1 me\n"); !strings.Contains(got, "127.0.0.1 me\n") || strings.Contains(got, "store") {
		t.Errorf("on the host's network:\n%s", got)
	}
}

func TestHostname(t *testing.T) {
	long := strings.Repeat("a", 62) + "-b"
	p := pod(nil)
	p.Name = long
	if host, _ := Hostname(p, "c"); host != strings.Repeat("a", 62) {
		t.Errorf("host name is %s", host)
	}
	p = pod(func(s *corev1.PodSpec) { s.Subdomain, s.SetHostnameAsFQDN = "sub", to(true) })
	if got := Sandbox(p, 0, "", "/g", Node{DNS: DNS{Domain: "c"}}).Hostname; got != "web.sub.shop.svc.c" {
		t.Errorf("host name in the sandbox is %s", got)
	}
	p.Spec.Subdomain = strings.Repeat("s", 60)
	if HostnameTooLong(p, "c") == "" {
		t.Error("a host name that the kernel refuses was taken")
	}
}

func TestSandbox(t *testing.T) {
	p := pod(func(s *corev1.PodSpec) {
		s.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 8080, Protocol: corev1.ProtocolUDP, HostIP: "127.0.0.1"}, {ContainerPort: 81}}
		s.ShareProcessNamespace = to(true)
		s.SecurityContext = &corev1.PodSecurityContext{FSGroup: to(int64(5)), SupplementalGroups: []int64{6}, Sysctls: []corev1.Sysctl{{Name: "net/core/somaxconn", Value: "9"}}}
	})
	p.Labels = map[string]string{"app": "web"}
	got := Sandbox(p, 2, "", "/sinawi/podu1", Node{LogDir: "/logs"})
	if got.LogDirectory != "/logs/shop_web_u1" || got.Metadata.Attempt != 2 || got.Labels["app"] != "web" || got.Labels["io.kubernetes.pod.uid"] != "u1" {
		t.Errorf("got %+v", got)
	}
	if len(got.PortMappings) != 1 || got.PortMappings[0].HostPort != 8080 || got.PortMappings[0].Protocol != cri.Protocol_UDP {
		t.Errorf("ports are %v", got.PortMappings)
	}
	security := got.Linux.SecurityContext
	if security.NamespaceOptions.Pid != cri.NamespaceMode_POD || !slices.Equal(security.SupplementalGroups, []int64{6, 5}) || got.Linux.Sysctls["net.core.somaxconn"] != "9" {
		t.Errorf("security is %v, sysctls %v", security, got.Linux.Sysctls)
	}
}

func TestContainer(t *testing.T) {
	p := pod(func(s *corev1.PodSpec) {
		s.TerminationGracePeriodSeconds = to(int64(7))
		s.SecurityContext = &corev1.PodSecurityContext{RunAsUser: to(int64(1000)), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
		c := &s.Containers[0]
		c.Command, c.Args = []string{"run", "$(A)"}, []string{"$(B)", "$$(A)"}
		c.SecurityContext = &corev1.SecurityContext{
			RunAsUser: to(int64(2000)), AllowPrivilegeEscalation: to(false), ReadOnlyRootFilesystem: to(true),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_BIND_SERVICE"}},
		}
		c.Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
		c.Lifecycle = &corev1.Lifecycle{StopSignal: to(corev1.SIGINT)}
	})
	got, err := Container(ContainerInput{Pod: p, Container: &p.Spec.Containers[0], Attempt: 3, Image: "sha256:x", Env: []*cri.KeyValue{{Key: "A", Value: []byte("1")}}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]string{{"run", "1"}, {"$(B)", "$(A)"}}, [][]string{got.Command, got.Args}); diff != "" {
		t.Errorf("command and arguments (-want +got):\n%s", diff)
	}
	if got.LogPath != "a/3.log" || got.Annotations[observed.AnnotationRestartCount] != "3" || got.Annotations[observed.AnnotationGracePeriod] != "7" || got.StopSignal != cri.Signal_SIGNAL_SIGINT {
		t.Errorf("got %+v", got)
	}
	r := got.Linux.Resources
	if r.CpuQuota != 50_000 || r.CpuPeriod != 100_000 || r.CpuShares != 512 || r.MemoryLimitInBytes != 64<<20 {
		t.Errorf("resources are %v", r)
	}
	s := got.Linux.SecurityContext
	if s.RunAsUser.Value != 2000 || !s.NoNewPrivs || !s.ReadonlyRootfs || s.Seccomp.ProfileType != cri.SecurityProfile_RuntimeDefault || len(s.MaskedPaths) == 0 {
		t.Errorf("security is %v", s)
	}
}

func TestNonRoot(t *testing.T) {
	tests := []struct {
		name  string
		user  *int64
		image ImageUser
		want  string
	}{
		{"a user", to(int64(5)), ImageUser{}, ""},
		{"root", to(int64(0)), ImageUser{}, "breaks non-root policy"},
		{"an image of root", nil, ImageUser{}, "image will run as root"},
		{"an image of user 0", nil, ImageUser{UID: to(int64(0))}, "image will run as root"},
		{"an image of a user", nil, ImageUser{UID: to(int64(7))}, ""},
		{"an image of a name", nil, ImageUser{Name: "app"}, "non-numeric user (app)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := pod(func(s *corev1.PodSpec) {
				s.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsNonRoot: to(true), RunAsUser: test.user}
			})
			_, err := Container(ContainerInput{Pod: p, Container: &p.Spec.Containers[0], ImageUser: test.image})
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestOOMScores(t *testing.T) {
	request := func(memory string) func(*corev1.PodSpec) {
		return func(s *corev1.PodSpec) {
			s.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}
		}
	}
	guaranteed := func(s *corev1.PodSpec) {
		list := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi"), corev1.ResourceCPU: resource.MustParse("1")}
		s.Containers[0].Resources = corev1.ResourceRequirements{Requests: list, Limits: list}
	}
	for _, test := range []struct {
		name   string
		change func(*corev1.PodSpec)
		want   int64
	}{
		{"best effort", nil, 1000},
		{"guaranteed", guaranteed, -997},
		{"half of the memory", request("4Gi"), 500},
		{"nothing to speak of", request("1"), 999},
		{"all of it", request("8Gi"), 3},
		{"the node's own", func(s *corev1.PodSpec) { s.Priority = to(int32(2_000_001_000)) }, -997},
	} {
		p := pod(test.change)
		if got := oomScore(p, &p.Spec.Containers[0], 8<<30); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

func TestEverySignalIsKnown(t *testing.T) {
	for _, name := range []corev1.Signal{corev1.SIGTERM, corev1.SIGUSR1, corev1.SIGRTMINPLUS1, corev1.SIGRTMAXMINUS14} {
		if stopSignal(name) == cri.Signal_SIGNAL_RUNTIME_DEFAULT {
			t.Errorf("%s is unknown", name)
		}
	}
}

func TestPageSize(t *testing.T) {
	for in, want := range map[string]string{"2Mi": "2MB", "1Gi": "1GB", "64Ki": "64KB"} {
		if got := pageSize(in); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
}
