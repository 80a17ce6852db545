// Package podsecurity holds pods to the level of security that their namespace
// asks for by its labels. The checks are those of k8s.io/pod-security-admission;
// this package fits them into the admission chain.
package podsecurity

import (
	"context"
	"fmt"
	"io"

	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/warning"
	podsecurity "k8s.io/pod-security-admission/admission"
	"k8s.io/pod-security-admission/admission/api/load"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/metrics"
	"k8s.io/pod-security-admission/policy"

	"github.com/sinawi/sinawi/internal/apiserver/admission/lookup"
)

// Plugin is the admission plugin.
type Plugin struct {
	*admission.Handler
	checks *podsecurity.Admission
}

// New returns the plugin. config is a PodSecurityConfiguration, with the levels
// of namespaces without labels and who is exempt; without one, what no label
// says is privileged, as upstream has it.
func New(source lookup.Source, config io.Reader) (*Plugin, error) {
	levels, err := load.LoadFromReader(config)
	if err != nil {
		return nil, fmt.Errorf("plugin PodSecurity: %w", err)
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return nil, fmt.Errorf("pod security checks: %w", err)
	}
	checks := &podsecurity.Admission{
		Configuration:    levels,
		Evaluator:        evaluator,
		Metrics:          metrics.NewPrometheusRecorder(api.LatestVersion()),
		PodSpecExtractor: podsecurity.DefaultPodSpecExtractor{},
		NamespaceGetter:  reader{source},
		PodLister:        reader{source},
	}
	if err := checks.CompleteConfiguration(); err != nil {
		return nil, fmt.Errorf("plugin PodSecurity: %w", err)
	}
	if err := checks.ValidateConfiguration(); err != nil {
		return nil, fmt.Errorf("plugin PodSecurity: %w", err)
	}
	return &Plugin{Handler: admission.NewHandler(admission.Create, admission.Update), checks: checks}, nil
}

// reader reads what the checks ask for.
type reader struct{ source lookup.Source }

// GetNamespace returns a namespace.
func (r reader) GetNamespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	return lookup.Get[*corev1.Namespace](ctx, r.source, lookup.Core("namespaces"), "", name)
}

// ListPods returns the pods of a namespace.
func (r reader) ListPods(ctx context.Context, namespace string) ([]*corev1.Pod, error) {
	return lookup.List[*corev1.Pod](ctx, r.source, lookup.Core("pods"), namespace)
}

// Validate implements admission.ValidationInterface.
func (p *Plugin) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	resource := a.GetResource().GroupResource()
	if !concerns(resource) {
		return nil
	}
	result := p.checks.Validate(ctx, &api.AttributesRecord{
		Name:        a.GetName(),
		Namespace:   a.GetNamespace(),
		Kind:        a.GetKind(),
		Resource:    a.GetResource(),
		Subresource: a.GetSubresource(),
		Operation:   admissionv1.Operation(a.GetOperation()),
		Object:      a.GetObject(),
		OldObject:   a.GetOldObject(),
		Username:    a.GetUserInfo().GetName(),
	})
	for _, w := range result.Warnings {
		warning.AddWarning(ctx, "", w)
	}
	for k, v := range result.AuditAnnotations {
		audit.AddAuditAnnotation(ctx, "pod-security.kubernetes.io/"+k, v)
	}
	if result.Allowed {
		return nil
	}
	if result.Result == nil {
		return admission.NewForbidden(a, fmt.Errorf("pod security forbids this"))
	}
	return &apierrors.StatusError{ErrStatus: *result.Result}
}

func concerns(resource schema.GroupResource) bool {
	switch resource.Group {
	case "":
		switch resource.Resource {
		case "namespaces", "pods", "replicationcontrollers", "podtemplates":
			return true
		}
	case appsv1.GroupName:
		switch resource.Resource {
		case "deployments", "replicasets", "statefulsets", "daemonsets":
			return true
		}
	case batchv1.GroupName:
		return resource.Resource == "jobs" || resource.Resource == "cronjobs"
	}
	return false
}
