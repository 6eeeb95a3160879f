//! The files of `deploy/kubernetes` are what Kubernetes and kustomize take, and as careful as they say.
//!
//! The types are those of the newest Kubernetes, from its OpenAPI document (`k8s-openapi`); a field that
//! they do not know is an error, as it is for `kubectl apply`. Nothing is asked over the network.

#![expect(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::batch::v1::{CronJob, Job, JobSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, Namespace, PodSpec, PodTemplateSpec, Secret, ServiceAccount,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What we use of kustomize's file; another field is an error.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kustomization {
    api_version: String,
    kind: String,
    namespace: String,
    labels: Vec<Labels>,
    resources: Vec<String>,
    config_map_generator: Vec<Generator>,
    generator_options: GeneratorOptions,
    images: Vec<Image>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Labels {
    pairs: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Generator {
    name: String,
    files: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GeneratorOptions {
    disable_name_suffix_hash: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Image {
    name: String,
    new_name: String,
    new_tag: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kubernetes")
}

fn yaml<T: DeserializeOwned>(file: &str) -> T {
    let text = fs::read_to_string(folder().join(file)).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn kustomization() -> Kustomization {
    yaml("kustomization.yaml")
}

/// Reads a value as an object of Kubernetes and names the fields that it does not have.
fn strict<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    let mut unknown = Vec::new();
    let object = serde_ignored::deserialize(value, |path| unknown.push(path.to_string()));
    let object = object.map_err(|error: serde_json::Error| error.to_string())?;
    if unknown.is_empty() {
        Ok(object)
    } else {
        Err(format!("unknown fields: {}", unknown.join(", ")))
    }
}

/// Checks one object of whatever kind and returns the pods that it makes.
fn pods(value: Value) -> Result<Vec<PodTemplateSpec>, String> {
    let name = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    match (name("apiVersion").as_str(), name("kind").as_str()) {
        ("batch/v1", "CronJob") => {
            let spec = strict::<CronJob>(value)?.spec;
            let template = spec.job_template.spec;
            Ok(template.map(|job| job.template).into_iter().collect())
        }
        ("batch/v1", "Job") => {
            let spec = strict::<Job>(value)?.spec;
            Ok(spec.map(|job| job.template).into_iter().collect())
        }
        ("v1", "ConfigMap") => strict::<ConfigMap>(value).map(|_| Vec::new()),
        ("v1", "Namespace") => strict::<Namespace>(value).map(|_| Vec::new()),
        ("v1", "Secret") => strict::<Secret>(value).map(|_| Vec::new()),
        ("v1", "ServiceAccount") => strict::<ServiceAccount>(value).map(|_| Vec::new()),
        (version, kind) => Err(format!("{version} {kind} is not expected here")),
    }
}

/// Returns the pods of all files, each with the file's name.
fn all_pods() -> Vec<(String, PodSpec)> {
    let mut found = Vec::new();
    for file in kustomization().resources {
        let made = pods(yaml(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        found.extend(
            made.into_iter()
                .map(|pod| (file.clone(), pod.spec.unwrap())),
        );
    }
    found
}

fn job() -> JobSpec {
    let job: Job = strict(yaml("indexed-job.yaml")).unwrap();
    job.spec.unwrap()
}

fn variable<'a>(container: &'a Container, name: &str) -> Option<&'a str> {
    let variables = container.env.iter().flatten();
    let mut named = variables.filter(|variable| variable.name == name);
    named.next().and_then(|variable| variable.value.as_deref())
}

#[test]
fn kustomize_finds_what_it_names_and_leaves_nothing_out() {
    let all = kustomization();
    assert_eq!(all.api_version, "kustomize.config.k8s.io/v1beta1");
    assert_eq!(all.kind, "Kustomization");
    assert_eq!(all.namespace, "dhow");
    assert!(all.labels.iter().all(|labels| !labels.pairs.is_empty()));
    assert!(
        all.generator_options.disable_name_suffix_hash,
        "the template of a Job cannot follow a name that changes"
    );
    let generated = all.config_map_generator.iter().flat_map(|one| &one.files);
    let named: BTreeSet<_> = all.resources.iter().chain(generated).cloned().collect();
    let paths = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let there: BTreeSet<_> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name != "kustomization.yaml")
        .collect();
    assert_eq!(named, there);
}

#[test]
fn a_misspelt_or_misplaced_field_is_found() {
    for (pointer, field) in [
        ("/spec", "concurencyPolicy"),
        ("/spec/jobTemplate/spec", "restartPolicy"),
        (
            "/spec/jobTemplate/spec/template/spec",
            "readOnlyRootFilesystem",
        ),
        ("/spec/jobTemplate/spec/template/spec/containers/0", "arg"),
    ] {
        let mut value: Value = yaml("cronjob.yaml");
        let place = value.pointer_mut(pointer).unwrap();
        place[field] = Value::from("x");
        let error = pods(value).unwrap_err();
        assert!(error.contains(field), "{error}");
    }
    let mut value: Value = yaml("cronjob.yaml");
    value["spec"]["jobTemplate"]["spec"]["backoffLimit"] = Value::from("many");
    assert!(pods(value).is_err(), "a number is not a text");
}

#[test]
fn pods_may_do_no_more_than_they_need() {
    let found = all_pods();
    assert_eq!(found.len(), 2);
    for (file, pod) in found {
        let user = pod.security_context.unwrap();
        assert_eq!(user.run_as_non_root, Some(true), "{file}");
        assert!(user.run_as_user.is_some_and(|user| user > 0), "{file}");
        let seccomp = user.seccomp_profile.map(|profile| profile.type_);
        assert_eq!(seccomp.as_deref(), Some("RuntimeDefault"), "{file}");
        assert_eq!(pod.automount_service_account_token, Some(false), "{file}");
        assert!(
            pod.host_network.is_none() && pod.host_pid.is_none(),
            "{file}"
        );
        assert!(pod.init_containers.is_none(), "{file}");
        for container in &pod.containers {
            let context = container.security_context.as_ref().unwrap();
            assert_eq!(context.read_only_root_filesystem, Some(true), "{file}");
            assert_eq!(context.allow_privilege_escalation, Some(false), "{file}");
            assert!(!context.privileged.unwrap_or_default(), "{file}");
            let capabilities = context.capabilities.as_ref().unwrap();
            assert_eq!(capabilities.drop.as_deref(), Some(&["ALL".to_owned()][..]));
            assert!(capabilities.add.is_none(), "{file}");
            let resources = container.resources.as_ref().unwrap();
            for side in [&resources.requests, &resources.limits] {
                assert!(side.as_ref().unwrap().contains_key("memory"), "{file}");
            }
        }
    }
}

#[test]
fn what_pods_name_is_there() {
    let all = kustomization();
    let image = all
        .images
        .iter()
        .find(|image| image.name == "dhow")
        .unwrap();
    assert!(image.new_name.contains('/') && !image.new_tag.is_empty());
    let generated: Vec<_> = all
        .config_map_generator
        .iter()
        .map(|one| &one.name)
        .collect();
    let account: ServiceAccount = strict(yaml("serviceaccount.yaml")).unwrap();
    for (file, pod) in all_pods() {
        assert_eq!(pod.service_account_name, account.metadata.name, "{file}");
        let volumes = pod.volumes.unwrap();
        for source in volumes.iter().filter_map(|one| one.config_map.as_ref()) {
            let made = generated.contains(&&source.name);
            assert!(
                made || source.optional == Some(true),
                "{file}: {}",
                source.name
            );
        }
        for container in &pod.containers {
            assert_eq!(container.image.as_deref(), Some("dhow"), "{file}");
            let mounts = container.volume_mounts.as_ref().unwrap();
            let mounted: BTreeSet<_> = mounts.iter().map(|mount| &mount.name).collect();
            assert_eq!(
                mounted,
                volumes.iter().map(|one| &one.name).collect(),
                "{file}"
            );
        }
    }
}

#[test]
fn what_is_written_goes_into_volumes_of_the_pod() {
    for (file, pod) in all_pods() {
        let volumes = pod.volumes.unwrap();
        for container in &pod.containers {
            let mounts = container.volume_mounts.iter().flatten();
            let writable: Vec<_> = mounts.filter(|one| one.read_only != Some(true)).collect();
            for mount in &writable {
                let volume = volumes.iter().find(|one| one.name == mount.name).unwrap();
                assert!(volume.empty_dir.is_some(), "{file}: {}", mount.name);
            }
            let args = container.args.as_ref().unwrap();
            let tmp = args.iter().find_map(|arg| arg.strip_prefix("--tmpdir="));
            let home = variable(container, "HOME");
            let cache = variable(container, "XDG_CACHE_HOME");
            for path in [tmp, home, cache] {
                let found = writable
                    .iter()
                    .any(|mount| Some(mount.mount_path.as_str()) == path);
                assert!(found, "{file}: {path:?}");
            }
            for arg in ["--authfile=/auth/config.json", "/config/sync.yaml"] {
                assert!(args.iter().any(|given| given == arg), "{file}: {arg}");
            }
        }
    }
}

#[test]
fn one_run_at_a_time_and_one_pod_for_each_part() {
    let cron: CronJob = strict(yaml("cronjob.yaml")).unwrap();
    let spec = cron.spec;
    assert_eq!(spec.concurrency_policy.as_deref(), Some("Forbid"));
    assert!(spec.job_template.spec.unwrap().backoff_limit.is_some());

    let job = job();
    assert_eq!(job.completion_mode.as_deref(), Some("Indexed"));
    assert!(job.backoff_limit.is_some());
    let pod = job.template.spec.unwrap();
    let container = &pod.containers[0];
    let args = container.args.as_ref().unwrap();
    assert!(args.contains(&"--shard=auto/$(SHARDS)".to_owned()));
    let shards: i32 = variable(container, "SHARDS").unwrap().parse().unwrap();
    assert_eq!(job.completions, Some(shards), "a part would be left out");
    assert!(job.parallelism.is_some_and(|pods| pods <= shards));
}

#[test]
fn both_kinds_of_run_do_the_same_work() {
    let mut runs = Vec::new();
    for (_, pod) in all_pods() {
        let args = pod.containers[0].args.iter().flatten();
        let args = args.filter(|arg| !arg.starts_with("--shard=")).cloned();
        runs.push(args.collect::<Vec<_>>());
    }
    assert_eq!(runs[0], runs[1]);
}

#[test]
fn the_list_of_images_has_the_form_of_a_sync_file() {
    let registries: BTreeMap<String, BTreeMap<String, Value>> = yaml("sync.yaml");
    assert!(!registries.is_empty());
    for (name, keys) in registries {
        for key in keys.keys() {
            let known = ["images", "images-by-tag-regex", "images-by-semver"];
            assert!(known.contains(&key.as_str()), "{name}: {key}");
        }
    }
}
