package subresources

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/registry/rest"
	streamproxy "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"github.com/sinawi/sinawi/internal/apiserver/plug"
	"github.com/sinawi/sinawi/internal/apiserver/rows"
)

// addConnections serves what leads to nodes and into pods.
func addConnections(add func(schema.GroupVersion, string, rest.Storage), h *plug.Host, pods *rows.Served, opts Options) error {
	nodes, services, slices := h.Store("", "nodes"), h.Store("", "services"), h.Store("discovery.k8s.io", "endpointslices")
	if nodes == nil || services == nil || slices == nil {
		return fmt.Errorf("subresources: nodes, services or endpointslices are not served")
	}
	core := corev1.SchemeGroupVersion
	k := newKubelets(nodes, opts.KubeletTLS)
	open := proxyTransport()
	authorize := func() authorizer.Authorizer { return h.Authorizer }
	add(core, "pods/log", &logs{pods: pods.Store, kubelets: k})
	add(core, "pods/exec", &stream{pods: pods.Store, kubelets: k, authorizer: authorize, options: func() runtime.Object { return &corev1.PodExecOptions{} }})
	add(core, "pods/attach", &stream{pods: pods.Store, kubelets: k, authorizer: authorize, options: func() runtime.Object { return &corev1.PodAttachOptions{} }})
	add(core, "pods/portforward", &stream{pods: pods.Store, kubelets: k, authorizer: authorize, options: func() runtime.Object { return &corev1.PodPortForwardOptions{} }})
	add(core, "pods/proxy", &proxied{options: func() runtime.Object { return &corev1.PodProxyOptions{} }, locate: podLocation(pods.Store, open)})
	add(core, "nodes/proxy", &proxied{options: func() runtime.Object { return &corev1.NodeProxyOptions{} }, locate: nodeLocation(k, open)})
	add(core, "services/proxy", &proxied{options: func() runtime.Object { return &corev1.ServiceProxyOptions{} }, locate: serviceLocation(services, slices, pods.Store, open)})
	return nil
}

// stream is pods/exec, pods/attach or pods/portforward: a connection that is
// upgraded to SPDY or WebSocket and passed on to the pod's node.
type stream struct {
	pods       *rows.Store
	kubelets   *kubelets
	authorizer func() authorizer.Authorizer
	options    func() runtime.Object
}

func (s *stream) New() runtime.Object { return s.options() }
func (s *stream) Destroy()            {}

// ConnectMethods include GET for browsers, which open WebSockets by it.
func (s *stream) ConnectMethods() []string { return []string{"GET", "POST"} }

// NewConnectOptions are what the query string is read into.
func (s *stream) NewConnectOptions() (runtime.Object, bool, string) { return s.options(), false, "" }

// Connect returns the handler of one connection.
func (s *stream) Connect(ctx context.Context, name string, options runtime.Object, responder rest.Responder) (http.Handler, error) {
	if err := mayCreate(ctx, s.authorizer()); err != nil {
		return nil, err
	}
	pod, err := getPod(ctx, s.pods, name)
	if err != nil {
		return nil, err
	}
	path, query, err := streamRequest(pod, options)
	if err != nil {
		return nil, err
	}
	if pod.Spec.NodeName == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", name))
	}
	at, err := s.kubelets.of(ctx, pod.Spec.NodeName)
	if err != nil {
		return nil, err
	}
	location := at.url(path, query)
	plain := proxy.NewUpgradeAwareHandler(location, s.kubelets.transport, false, true, proxy.NewErrorResponder(responder))
	if streams := streamsOf(options); streams != nil {
		translated := streamproxy.NewStreamTranslatorHandler(location, s.kubelets.transport, 0, *streams)
		return streamproxy.NewTranslatingHandler(plain, translated, wsstream.IsWebSocketRequestWithStreamCloseProtocol), nil
	}
	tunnel := streamproxy.NewTunnelingHandler(plain)
	return streamproxy.NewTranslatingHandler(plain, tunnel, wsstream.IsWebSocketRequestWithTunnelingProtocol), nil
}

// mayCreate asks for the right to create as well: a browser's GET opens the
// same connection as a POST and must need no less.
func mayCreate(ctx context.Context, a authorizer.Authorizer) error {
	attributes, err := filters.GetAuthorizerAttributes(ctx)
	if err != nil {
		return err
	}
	record, ok := attributes.(*authorizer.AttributesRecord)
	if !ok || record.Verb == "create" || a == nil {
		return nil
	}
	asked := *record
	asked.Verb = "create"
	decision, reason, err := a.Authorize(ctx, &asked)
	if decision == authorizer.DecisionAllow {
		return nil
	}
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	resource := schema.GroupResource{Group: asked.APIGroup, Resource: asked.Resource}
	if asked.Subresource != "" {
		resource.Resource += "/" + asked.Subresource
	}
	user := ""
	if asked.User != nil {
		user = asked.User.GetName()
	}
	message := fmt.Sprintf("User %q cannot create resource %q in API group %q in the namespace %q", user, resource.Resource, asked.APIGroup, asked.Namespace)
	if reason != "" {
		message += ": " + reason
	}
	return apierrors.NewForbidden(resource, asked.Name, fmt.Errorf("%s", message))
}

// streamRequest says what to ask the node for.
func streamRequest(pod *corev1.Pod, options runtime.Object) (path string, query url.Values, err error) {
	query = url.Values{}
	flags := func(in, out, err, tty bool) {
		for name, set := range map[string]bool{"input": in, "output": out, "error": err, "tty": tty} {
			if set {
				query.Set(name, "1")
			}
		}
	}
	where := pod.Namespace + "/" + pod.Name
	var kind, container string
	switch o := options.(type) {
	case *corev1.PodExecOptions:
		kind, container = "exec", o.Container
		flags(o.Stdin, o.Stdout, o.Stderr, o.TTY)
		for _, word := range o.Command {
			query.Add("command", word)
		}
	case *corev1.PodAttachOptions:
		kind, container = "attach", o.Container
		flags(o.Stdin, o.Stdout, o.Stderr, o.TTY)
	case *corev1.PodPortForwardOptions:
		for _, port := range o.Ports {
			query.Add("port", strconv.Itoa(int(port)))
		}
		return "/portForward/" + where, query, nil
	default:
		return "", nil, fmt.Errorf("invalid options object: %#v", options)
	}
	if container, err = containerOf(pod, container); err != nil {
		return "", nil, err
	}
	return "/" + kind + "/" + where + "/" + container, query, nil
}

// streamsOf are the streams of a command; nil for port-forwarding.
func streamsOf(options runtime.Object) *streamproxy.Options {
	switch o := options.(type) {
	case *corev1.PodExecOptions:
		return &streamproxy.Options{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY}
	case *corev1.PodAttachOptions:
		return &streamproxy.Options{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY}
	}
	return nil
}
