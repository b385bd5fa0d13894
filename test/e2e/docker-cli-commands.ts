// Commands of Docker's command line, all of swarm mode and some others, in an order in which each succeeds, and what they print.

/** `more`: arguments with spaces in them. */
export type CommandRow = readonly [command: string, says: RegExp, more?: readonly string[]];

/** `word`: a file that says `hidden`. */
export const stackOf = (word: string): string =>
  JSON.stringify({
    version: '3.8',
    services: {
      web: {
        image: 'bb:1',
        command: 'sleep 1000',
        stop_grace_period: '0s',
        networks: ['front'],
        secrets: ['s'],
        configs: ['c'],
      },
    },
    networks: { front: {} },
    ...{ secrets: { s: { file: word } }, configs: { c: { file: word } } },
  });

const made = '--name new --secret ns --config nc --network nn --with-registry-auth --stop-grace-period 0s'.split(' ');
const talking = ['bb:1', 'sh', '-c', 'echo hello; sleep 1000'];

/** `stack`: a file with `stackOf`. */
export const commandRows = (word: string, stack: string): readonly CommandRow[] => [
  ['version -f {{.Server.APIVersion}}', /^1\.50$/],
  ['info -f {{.Swarm.ControlAvailable}}', /^true$/],
  ['node ls -q', /^(\w{25}\n?){5}$/],
  ['node inspect --pretty self', /Raft Status:/],
  ['node update --label-add v=1 w1', /^w1$/],
  ['node ps self', /^ID/],
  ['swarm join-token -q manager', /^SWMTKN-1-/],
  ['swarm ca', /BEGIN CERTIFICATE/],
  ['swarm update --task-history-limit 5', /^Swarm updated\.$/],
  [`secret create ns ${word}`, /^\w{25}$/],
  ['secret ls -q -f name=ns', /^\w{25}$/],
  ['secret inspect --pretty ns', /Name:\s+ns/],
  [`config create nc ${word}`, /^\w{25}$/],
  ['config ls -q -f name=nc', /^\w{25}$/],
  ['config inspect --pretty nc', /hidden/],
  ['network create -d overlay nn', /^\w{25}$/],
  ['network ls -q -f name=nn', /^\w{12}$/],
  ['network inspect -f {{.Scope}} nn', /^swarm$/],
  ['service create -q', /^\w{25}$/, [...made, ...talking]],
  ['service ls -f name=new', /replicated +1\/1/],
  ['service ps new', /new\.1 .* Running/],
  ['service inspect --pretty new', /ContainerSpec:/],
  ['service logs --raw new', /^hello$/],
  ['inspect -f {{.Spec.Name}} new', /^new$/],
  ['service update -d --force new', /^new$/],
  ['service rollback -d new', /^new$/],
  ['service scale -d new=2', /new scaled to 2/],
  ['service rm new', /^new$/],
  [`stack deploy --detach=true -c ${stack} st`, /Creating service st_web/],
  [`stack deploy --detach=true -c ${stack} st`, /Updating service st_web/],
  ['stack ls', /st +1/],
  ['stack services st', /st_web/],
  ['stack ps st', /st_web\.1/],
  ['stack rm st', /Removing network st_front/],
  // The command line asks for whole seconds: what has just been is after the end.
  ['events --since 1 --until 0s -f type=service', /service create .*name=new/],
  ['ps -a', /^CONTAINER ID/],
  ['images -q bb', /^\w{12}$/],
  ['system df', /^TYPE/],
  ['volume create nv', /^nv$/],
  ['volume ls -q -f name=nv', /^nv$/],
  ['volume rm nv', /^nv$/],
  ['network rm nn', /^nn$/],
  ['secret rm ns', /^ns$/],
  ['config rm nc', /^nc$/],
  ['network prune -f', /^$/],
];
