package defaults

import (
	"math"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Apps adds the defaulting functions of the group apps to scheme.
func Apps(scheme *runtime.Scheme) error {
	add(scheme, deployment)
	add(scheme, func(s *appsv1.ReplicaSet) {
		PodSpec(&s.Spec.Template.Spec)
		orNew(&s.Spec.Replicas, 1)
	})
	add(scheme, statefulSet)
	add(scheme, daemonSet)
	return nil
}

func deployment(d *appsv1.Deployment) {
	spec := &d.Spec
	PodSpec(&spec.Template.Spec)
	orNew(&spec.Replicas, 1)
	orElse(&spec.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		orNew(&spec.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		orNew(&spec.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		orNew(&spec.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	orNew(&spec.RevisionHistoryLimit, 10)
	orNew(&spec.ProgressDeadlineSeconds, 600)
}

func statefulSet(s *appsv1.StatefulSet) {
	spec := &s.Spec
	PodSpec(&spec.Template.Spec)
	for i := range spec.VolumeClaimTemplates {
		claim := &spec.VolumeClaimTemplates[i]
		claim.APIVersion, claim.Kind = "v1", "PersistentVolumeClaim"
		PersistentVolumeClaim(claim)
	}
	orElse(&spec.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	if spec.UpdateStrategy.Type == "" {
		spec.UpdateStrategy.Type = appsv1.RollingUpdateStatefulSetStrategyType
		orNew(&spec.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
	}
	if r := spec.UpdateStrategy.RollingUpdate; r != nil && spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType {
		orNew(&r.Partition, 0)
		orNew(&r.MaxUnavailable, intstr.FromInt32(1))
	}
	orNew(&spec.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	orElse(&spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	orElse(&spec.PersistentVolumeClaimRetentionPolicy.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	orNew(&spec.Replicas, 1)
	orNew(&spec.RevisionHistoryLimit, 10)
}

func daemonSet(d *appsv1.DaemonSet) {
	spec := &d.Spec
	PodSpec(&spec.Template.Spec)
	// The number of the template is an annotation since the field is gone.
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	if _, ok := d.Annotations[appsv1.DeprecatedTemplateGeneration]; !ok {
		d.Annotations[appsv1.DeprecatedTemplateGeneration] = "0"
	}
	orElse(&spec.UpdateStrategy.Type, appsv1.RollingUpdateDaemonSetStrategyType)
	if spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		orNew(&spec.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
		orNew(&spec.UpdateStrategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		orNew(&spec.UpdateStrategy.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	orNew(&spec.RevisionHistoryLimit, 10)
}

// Batch adds the defaulting functions of the group batch to scheme.
func Batch(scheme *runtime.Scheme) error {
	add(scheme, job)
	add(scheme, func(c *batchv1.CronJob) {
		PodSpec(&c.Spec.JobTemplate.Spec.Template.Spec)
		failureConditions(c.Spec.JobTemplate.Spec.PodFailurePolicy)
		orElse(&c.Spec.ConcurrencyPolicy, batchv1.AllowConcurrent)
		orNew(&c.Spec.Suspend, false)
		orNew(&c.Spec.SuccessfulJobsHistoryLimit, 3)
		orNew(&c.Spec.FailedJobsHistoryLimit, 1)
	})
	return nil
}

func job(j *batchv1.Job) {
	spec := &j.Spec
	PodSpec(&spec.Template.Spec)
	// A job that says nothing runs once; one that says how many at a time,
	// until one of them has succeeded.
	if spec.Completions == nil && spec.Parallelism == nil {
		orNew(&spec.Completions, 1)
	}
	orNew(&spec.Parallelism, 1)
	if spec.BackoffLimitPerIndex != nil {
		orNew(&spec.BackoffLimit, math.MaxInt32)
	}
	orNew(&spec.BackoffLimit, 6)
	if labels := spec.Template.Labels; labels != nil && len(j.Labels) == 0 {
		j.Labels = labels
	}
	orNew(&spec.CompletionMode, batchv1.NonIndexedCompletion)
	orNew(&spec.Suspend, false)
	orNew(&spec.ManualSelector, false)
	replacement := batchv1.TerminatingOrFailed
	if spec.PodFailurePolicy != nil {
		replacement = batchv1.Failed
	}
	failureConditions(spec.PodFailurePolicy)
	orNew(&spec.PodReplacementPolicy, replacement)
}

func failureConditions(p *batchv1.PodFailurePolicy) {
	if p == nil {
		return
	}
	for i := range p.Rules {
		for k := range p.Rules[i].OnPodConditions {
			orElse(&p.Rules[i].OnPodConditions[k].Status, corev1.ConditionTrue)
		}
	}
}

// Autoscaling adds the defaulting functions of the group autoscaling to scheme.
func Autoscaling(scheme *runtime.Scheme) error {
	add(scheme, func(h *autoscalingv1.HorizontalPodAutoscaler) { orNew(&h.Spec.MinReplicas, 1) })
	add(scheme, autoscaler)
	return nil
}

func autoscaler(h *autoscalingv2.HorizontalPodAutoscaler) {
	orNew(&h.Spec.MinReplicas, 1)
	if len(h.Spec.Metrics) == 0 {
		utilization := int32(80)
		h.Spec.Metrics = []autoscalingv2.MetricSpec{{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricSource{
				Name:   corev1.ResourceCPU,
				Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &utilization},
			},
		}}
	}
	b := h.Spec.Behavior
	if b == nil {
		return
	}
	const period = 15
	twice := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: period}
	four := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: period}
	orNew(&b.ScaleUp, autoscalingv2.HPAScalingRules{})
	orNew(&b.ScaleUp.StabilizationWindowSeconds, 0)
	scalingRules(b.ScaleUp, four, twice)
	orNew(&b.ScaleDown, autoscalingv2.HPAScalingRules{})
	scalingRules(b.ScaleDown, twice)
}

func scalingRules(r *autoscalingv2.HPAScalingRules, policies ...autoscalingv2.HPAScalingPolicy) {
	orNew(&r.SelectPolicy, autoscalingv2.MaxChangePolicySelect)
	if r.Policies == nil {
		r.Policies = policies
	}
}
