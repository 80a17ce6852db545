package subresources

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericrest "k8s.io/apiserver/pkg/registry/generic/rest"

	"github.com/sinawi/sinawi/internal/apiserver/rows"
)

// logs is pods/log: it streams what a container wrote from its node.
type logs struct {
	pods     *rows.Store
	kubelets *kubelets
}

func (l *logs) New() runtime.Object { return &corev1.Pod{} }
func (l *logs) Destroy()            {}

// ProducesMIMETypes says that logs are text.
func (l *logs) ProducesMIMETypes(string) []string { return []string{"text/plain"} }

// ProducesObject says the same to documentation.
func (l *logs) ProducesObject(string) any { return "" }

// NewGetOptions are what the query string is read into.
func (l *logs) NewGetOptions() (runtime.Object, bool, string) {
	return &corev1.PodLogOptions{}, false, ""
}

// OverrideMetricsVerb counts a log that is followed as a connection.
func (l *logs) OverrideMetricsVerb(verb string) string {
	if verb == "GET" {
		return "CONNECT"
	}
	return verb
}

// Get returns the stream of the log.
func (l *logs) Get(ctx context.Context, name string, opts runtime.Object) (runtime.Object, error) {
	options, ok := opts.(*corev1.PodLogOptions)
	if !ok {
		return nil, fmt.Errorf("invalid options object: %#v", opts)
	}
	if errs := validateLogOptions(options); len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Kind: "PodLogOptions"}, name, errs)
	}
	pod, err := getPod(ctx, l.pods, name)
	if err != nil {
		return nil, err
	}
	container, err := containerOf(pod, options.Container)
	if err != nil {
		return nil, err
	}
	out := &genericrest.LocationStreamer{
		Transport:       l.transport(options),
		ContentType:     "text/plain",
		Flush:           options.Follow,
		ResponseChecker: genericrest.NewGenericHttpResponseChecker(schema.GroupResource{Resource: "pods/log"}, name),
		RedirectChecker: genericrest.PreventRedirects,
	}
	if pod.Spec.NodeName == "" {
		return out, nil // nothing was written yet
	}
	at, err := l.kubelets.of(ctx, pod.Spec.NodeName)
	if err != nil {
		return nil, err
	}
	out.Location = at.url("/containerLogs/"+pod.Namespace+"/"+pod.Name+"/"+container, logQuery(options))
	return out, nil
}

func (l *logs) transport(options *corev1.PodLogOptions) http.RoundTripper {
	if options.InsecureSkipTLSVerifyBackend {
		return l.kubelets.unproven
	}
	return l.kubelets.transport
}

func logQuery(o *corev1.PodLogOptions) url.Values {
	q := url.Values{}
	for name, set := range map[string]bool{"follow": o.Follow, "previous": o.Previous, "timestamps": o.Timestamps} {
		if set {
			q.Set(name, "true")
		}
	}
	for name, n := range map[string]*int64{"sinceSeconds": o.SinceSeconds, "tailLines": o.TailLines, "limitBytes": o.LimitBytes} {
		if n != nil {
			q.Set(name, strconv.FormatInt(*n, 10))
		}
	}
	if o.SinceTime != nil {
		q.Set("sinceTime", o.SinceTime.Format(time.RFC3339))
	}
	return q
}

func validateLogOptions(o *corev1.PodLogOptions) field.ErrorList {
	var errs field.ErrorList
	invalid := func(name string, value any, detail string) {
		errs = append(errs, field.Invalid(field.NewPath(name), value, detail))
	}
	if o.TailLines != nil && *o.TailLines < 0 {
		invalid("tailLines", *o.TailLines, "must be greater than or equal to 0")
	}
	if o.LimitBytes != nil && *o.LimitBytes < 1 {
		invalid("limitBytes", *o.LimitBytes, "must be greater than 0")
	}
	switch {
	case o.SinceSeconds != nil && o.SinceTime != nil:
		errs = append(errs, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
	case o.SinceSeconds != nil && *o.SinceSeconds < 1:
		invalid("sinceSeconds", *o.SinceSeconds, "must be greater than 0")
	}
	if o.Stream != nil {
		// Upstream's gate PodLogsQuerySplitStreams is off at this level.
		errs = append(errs, field.Forbidden(field.NewPath("stream"), "may not be specified"))
	}
	return errs
}

func getPod(ctx context.Context, pods *rows.Store, name string) (*corev1.Pod, error) {
	obj, err := pods.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("unexpected object type: %#v", obj)
	}
	return pod, nil
}

// containerOf is the container that a request means: the named one, or the
// only one.
func containerOf(pod *corev1.Pod, name string) (string, error) {
	regular, initial, all := containerNames(pod)
	if name != "" {
		for _, known := range all {
			if known == name {
				return name, nil
			}
		}
		return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
	}
	switch len(regular) {
	case 1:
		return regular[0], nil
	case 0:
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s", pod.Name))
	}
	message := fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s]", pod.Name, strings.Join(regular, " "))
	if len(initial) > 0 {
		message += fmt.Sprintf(" or one of the init containers: [%s]", strings.Join(initial, " "))
	}
	return "", apierrors.NewBadRequest(message)
}

func containerNames(pod *corev1.Pod) (regular, initial, all []string) {
	for i := range pod.Spec.Containers {
		regular = append(regular, pod.Spec.Containers[i].Name)
	}
	for i := range pod.Spec.InitContainers {
		initial = append(initial, pod.Spec.InitContainers[i].Name)
	}
	all = append(append(all, regular...), initial...)
	for i := range pod.Spec.EphemeralContainers {
		all = append(all, pod.Spec.EphemeralContainers[i].Name)
	}
	return regular, initial, all
}
