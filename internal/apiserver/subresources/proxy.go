package subresources

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/registry/rest"
	endpointproxy "k8s.io/apiserver/pkg/util/proxy"

	"github.com/sinawi/sinawi/internal/apiserver/rows"
)

// location is where a request goes and by what it gets there.
type location struct {
	url       *url.URL
	transport http.RoundTripper
}

// proxied is pods/proxy, services/proxy or nodes/proxy.
type proxied struct {
	options func() runtime.Object
	locate  func(ctx context.Context, id string) (location, error)
}

func (p *proxied) New() runtime.Object { return p.options() }
func (p *proxied) Destroy()            {}

// ConnectMethods are all that a web server may be asked with.
func (p *proxied) ConnectMethods() []string {
	return []string{"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"}
}

// NewConnectOptions take the rest of the path.
func (p *proxied) NewConnectOptions() (runtime.Object, bool, string) {
	return p.options(), true, "path"
}

// Connect returns the handler of one request.
func (p *proxied) Connect(ctx context.Context, id string, options runtime.Object, responder rest.Responder) (http.Handler, error) {
	path, err := proxyPath(options)
	if err != nil {
		return nil, err
	}
	to, err := p.locate(ctx, id)
	if err != nil {
		return nil, err
	}
	to.url.Path = joinPath(to.url.Path, path)
	return proxy.NewUpgradeAwareHandler(to.url, to.transport, true, false, proxy.NewErrorResponder(responder)), nil
}

func proxyPath(options runtime.Object) (string, error) {
	switch o := options.(type) {
	case *corev1.PodProxyOptions:
		return o.Path, nil
	case *corev1.ServiceProxyOptions:
		return o.Path, nil
	case *corev1.NodeProxyOptions:
		return o.Path, nil
	}
	return "", fmt.Errorf("invalid options object: %#v", options)
}

// split takes [scheme:]name[:port] apart.
func split(kind, id string) (scheme, name, port string, err error) {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(id)
	if !ok {
		return "", "", "", apierrors.NewBadRequest(fmt.Sprintf("invalid %s request %q", kind, id))
	}
	return scheme, name, port, nil
}

func podLocation(pods *rows.Store, transport http.RoundTripper) func(context.Context, string) (location, error) {
	return func(ctx context.Context, id string) (location, error) {
		scheme, name, port, err := split("pod", id)
		if err != nil {
			return location{}, err
		}
		pod, err := getPod(ctx, pods, name)
		if err != nil {
			return location{}, err
		}
		if port == "" {
			port = firstPort(pod)
		}
		ip, err := netip.ParseAddr(pod.Status.PodIP)
		if err == nil {
			err = proxyableIP(ip.Unmap())
		} else {
			err = errNotProxyable
		}
		if err != nil {
			return location{}, apierrors.NewBadRequest(err.Error())
		}
		return location{&url.URL{Scheme: scheme, Host: hostPort(ip, port)}, transport}, nil
	}
}

func firstPort(pod *corev1.Pod) string {
	for i := range pod.Spec.Containers {
		if ports := pod.Spec.Containers[i].Ports; len(ports) > 0 {
			return strconv.Itoa(int(ports[0].ContainerPort))
		}
	}
	return ""
}

// hostPort leaves the port to the scheme when there is none.
func hostPort(ip netip.Addr, port string) string {
	switch {
	case port != "":
		return net.JoinHostPort(ip.String(), port)
	case ip.Is6():
		return "[" + ip.String() + "]"
	}
	return ip.String()
}

// nodeLocation leads to the kubelet API, with the server's own certificate, or
// to another port of the node, with none.
func nodeLocation(k *kubelets, transport http.RoundTripper) func(context.Context, string) (location, error) {
	return func(ctx context.Context, id string) (location, error) {
		scheme, name, port, err := split("node", id)
		if err != nil {
			return location{}, err
		}
		at, err := k.of(ctx, name)
		if err != nil {
			return location{}, err
		}
		if port == "" || port == at.port {
			return location{at.url("", nil), k.transport}, nil
		}
		if err := proxyableHost(ctx, at.host); err != nil {
			return location{}, apierrors.NewBadRequest(err.Error())
		}
		return location{&url.URL{Scheme: scheme, Host: net.JoinHostPort(at.host, port)}, transport}, nil
	}
}

// serviceLocation leads to a ready endpoint of a service, picked by chance.
func serviceLocation(services, slices, pods *rows.Store, transport http.RoundTripper) func(context.Context, string) (location, error) {
	return func(ctx context.Context, id string) (location, error) {
		scheme, name, port, err := split("service", id)
		if err != nil {
			return location{}, err
		}
		found, err := slicesOf(ctx, slices, name)
		if err != nil {
			return location{}, err
		}
		// As upstream: whether there is such a service matters only to those
		// who name a port by its number.
		_, byNumber := strconv.ParseInt(port, 10, 64)
		if len(found) == 0 && byNumber != nil {
			return location{}, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", name))
		}
		obj, err := services.Get(ctx, name, &metav1.GetOptions{})
		if err != nil {
			return location{}, err
		}
		service := obj.(*corev1.Service)
		if port, err = servicePort(service, port); err != nil {
			return location{}, err
		}
		family := corev1.IPv4Protocol
		if len(service.Spec.IPFamilies) > 0 {
			family = service.Spec.IPFamilies[0]
		}
		host, err := endpointproxy.RandomEndpoint(name, found, port, family, func(e *discoveryv1.Endpoint) bool {
			return leadsToPod(ctx, pods, e, service.Namespace)
		})
		if err != nil {
			return location{}, err
		}
		return location{&url.URL{Scheme: scheme, Host: host}, transport}, nil
	}
}

// servicePort turns a port number into the port's name, by which endpoints
// know it.
func servicePort(service *corev1.Service, port string) (string, error) {
	number, err := strconv.ParseInt(port, 10, 64)
	if err != nil {
		return port, nil
	}
	for _, p := range service.Spec.Ports {
		if int64(p.Port) == number {
			return p.Name, nil
		}
	}
	return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", number, service.Name))
}

func slicesOf(ctx context.Context, store *rows.Store, service string) ([]*discoveryv1.EndpointSlice, error) {
	obj, err := store.List(ctx, &internalversion.ListOptions{
		LabelSelector:   labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service}),
		ResourceVersion: "0",
	})
	if err != nil {
		return nil, err
	}
	items := obj.(*discoveryv1.EndpointSliceList).Items
	out := make([]*discoveryv1.EndpointSlice, 0, len(items))
	for i := range items {
		out = append(out, &items[i])
	}
	return out, nil
}

// leadsToPod accepts an endpoint only when it is the address of the pod that it
// names: whoever may write endpoints could otherwise reach anything through
// the server.
func leadsToPod(ctx context.Context, pods *rows.Store, e *discoveryv1.Endpoint, namespace string) bool {
	if e.TargetRef == nil || e.TargetRef.Kind != "Pod" || len(e.Addresses) == 0 {
		return false
	}
	if e.TargetRef.Namespace != "" && e.TargetRef.Namespace != namespace {
		return false
	}
	ip, err := netip.ParseAddr(e.Addresses[0])
	if err != nil || proxyableIP(ip.Unmap()) != nil {
		return false
	}
	pod, err := getPod(ctx, pods, e.TargetRef.Name)
	if err != nil {
		return false
	}
	for _, p := range pod.Status.PodIPs {
		if other, err := netip.ParseAddr(p.IP); err == nil && other.Unmap() == ip.Unmap() {
			return true
		}
	}
	return false
}
