package bootstrap

import (
	"context"
	"slices"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	suggested "k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"

	"golang.org/x/sync/errgroup"
)

// flowControl makes upstream's priority levels and flow schemas. Those that
// are marked to follow the release are brought up to date; clearing the mark
// is how an administrator keeps a change.
func (k *Keeper) flowControl(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, level := range slices.Concat(suggested.MandatoryPriorityLevelConfigurations, suggested.SuggestedPriorityLevelConfigurations) {
		want := level.DeepCopy()
		want.Annotations = marked(want.Annotations)
		group.Go(func() error {
			return ensure(ctx, k.client.FlowcontrolV1().PriorityLevelConfigurations(), want, func(have *flowcontrolv1.PriorityLevelConfiguration) {
				if follows(have) {
					have.Spec = want.Spec
				}
			})
		})
	}
	for _, flow := range slices.Concat(suggested.MandatoryFlowSchemas, suggested.SuggestedFlowSchemas) {
		want := flow.DeepCopy()
		want.Annotations = marked(want.Annotations)
		group.Go(func() error {
			return ensure(ctx, k.client.FlowcontrolV1().FlowSchemas(), want, func(have *flowcontrolv1.FlowSchema) {
				if follows(have) {
					have.Spec = want.Spec
				}
			})
		})
	}
	return group.Wait()
}

func marked(annotations map[string]string) map[string]string {
	return with(annotations, map[string]string{flowcontrolv1.AutoUpdateAnnotationKey: "true"})
}

func follows(obj metav1.Object) bool {
	return obj.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey] == "true"
}
